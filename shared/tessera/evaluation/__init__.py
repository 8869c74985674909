"""Measures: confusion counts first, reductions late, so that shards and replicas add up exactly."""

from tessera.evaluation.bootstrap import Interval, bootstrap_miou
from tessera.evaluation.confusion import IGNORE, confusion, iou, iou_from_counts, miou, pixel_accuracy, sums
from tessera.evaluation.curves import auc, miou_at
from tessera.evaluation.intervals import mean_and_interval

__all__ = [
    "IGNORE",
    "Interval",
    "auc",
    "bootstrap_miou",
    "confusion",
    "iou",
    "iou_from_counts",
    "mean_and_interval",
    "miou",
    "miou_at",
    "pixel_accuracy",
    "sums",
]
