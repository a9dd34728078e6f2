"""The CPU generator: phonemes and prosody become face-motion coefficients, a warped portrait shows them."""
