"""Feature vectors of regions, one module each."""
