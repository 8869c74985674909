"""Feature vectors of regions: means of feature maps over regions of any shape."""
