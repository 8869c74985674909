"""Aggregations of pixel scores over a region, one module each."""
