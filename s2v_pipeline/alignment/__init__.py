"""Alignment: which phone is said when (choose), from words (transcript, pronunciation) or from the sound alone."""
