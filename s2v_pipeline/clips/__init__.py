"""Clips: one chunk's frames as one file in the delivered codec (encoders, encode); reading it (container, probe)."""
