"""Scores of regions: informativeness of each pixel, aggregated to one number per region."""
