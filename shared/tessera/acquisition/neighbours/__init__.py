"""Nearest neighbours in high dimension, exact and approximate; the same on any number of threads."""
