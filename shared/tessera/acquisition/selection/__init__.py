"""From a pool of scored regions to an ordered choice."""
