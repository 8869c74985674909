"""Scores of regions: the current model over the pool, one fused pass an image."""
