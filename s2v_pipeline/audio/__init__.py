"""Audio: waveform (decode), level (loudness), speech segments (voice_activity), rows per frame (features, pitch)."""
