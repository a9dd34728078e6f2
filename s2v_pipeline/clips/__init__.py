"""Clips: one chunk's frames as one H.264 file (encode), and reading it back (container, probe)."""
