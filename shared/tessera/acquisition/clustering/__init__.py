"""Clustering and diverse choices of millions of regions: seeded, and the same on any number of threads."""
