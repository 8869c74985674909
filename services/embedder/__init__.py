"""Features of regions and the projections that are fitted on them."""
