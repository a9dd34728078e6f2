"""The delivered video: clips joined by copying (stitch), the speech added (sound, mux), the file looked at (probe)."""
