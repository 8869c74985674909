"""Scores of regions: what a pixel is worth asking about, and how the pixels of a region become one number."""
