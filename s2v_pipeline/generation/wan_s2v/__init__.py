"""Wan2.2-S2V-14B: the official weights, the official numbers, the right clock. Needs the extra `wan`."""
