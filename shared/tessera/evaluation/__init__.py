"""Measures: confusion counts first, reductions late, so that shards and replicas add up exactly."""

from tessera.evaluation.bootstrap import Interval, bootstrap_miou
from tessera.evaluation.compare import Comparison, Measured, compare
from tessera.evaluation.confusion import IGNORE, confusion, iou, iou_from_counts, miou, pixel_accuracy, sums
from tessera.evaluation.curves import auc, miou_at

__all__ = [
    "IGNORE",
    "Comparison",
    "Interval",
    "Measured",
    "auc",
    "bootstrap_miou",
    "compare",
    "confusion",
    "iou",
    "iou_from_counts",
    "miou",
    "miou_at",
    "pixel_accuracy",
    "sums",
]
