"""Regions: the parts of images that queries ask about. Partition methods, region tables, neighbours and outlines.

A region map is an int32 (H, W) array of dense ids 0 … R-1 that covers every pixel of one image.
"""

from __future__ import annotations

from tessera.regions.geometry import adjacency, boundaries, boundary_band, outlines
from tessera.regions.partition import PARTITIONS, needs_image, partition
from tessera.regions.table import RegionTable, compact, region_table

__all__ = [
    "PARTITIONS",
    "RegionTable",
    "adjacency",
    "boundaries",
    "boundary_band",
    "compact",
    "needs_image",
    "outlines",
    "partition",
    "region_table",
]
