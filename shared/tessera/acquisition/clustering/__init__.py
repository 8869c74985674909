"""Clustering kernels that scale to millions of regions: pure, seeded, the same on any number of threads."""
