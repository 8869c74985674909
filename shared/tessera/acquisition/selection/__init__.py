"""Selection: an ordered choice from a pool of scored regions."""
