"""Generators: the protocol, the lazy registry, and one package for each implementation."""
