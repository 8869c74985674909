"""Scores of regions: how much each pixel is worth asking about, and how the pixels become one number per region."""
