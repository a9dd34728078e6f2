"""Chunks: which frames each one makes (plan), all that it needs (request), and its latents on disk (latents)."""
