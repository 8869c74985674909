"""Measures: confusion counts first, reductions late, so that shards and replicas add up exactly."""

from tessera.evaluation.bootstrap import Interval, bootstrap_miou
from tessera.evaluation.confusion import (
    IGNORE,
    accuracy,
    confusion,
    confusion_of_image,
    iou,
    iou_from_counts,
    miou,
    sums,
)
from tessera.evaluation.curves import auc, miou_at
from tessera.evaluation.intervals import mean_and_interval

__all__ = [
    "IGNORE",
    "Interval",
    "accuracy",
    "auc",
    "bootstrap_miou",
    "confusion",
    "confusion_of_image",
    "iou",
    "iou_from_counts",
    "mean_and_interval",
    "miou",
    "miou_at",
    "sums",
]
