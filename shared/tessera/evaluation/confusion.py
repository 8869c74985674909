"""Confusion counts, and the measures made from them: IoU, mean IoU, accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tessera.errors import BadInput

IGNORE = 255

Counts = NDArray[np.int64]
Values = NDArray[np.float64]


def confusion(truth: NDArray[Any], predicted: NDArray[Any], classes: int, ignore: int = IGNORE) -> Counts:
    """Count pixels (C, C) int64: rows truth, columns prediction; pixels whose truth is ``ignore`` do not count.

    ``truth`` and ``predicted`` are integer arrays of one shape. BadInput: shapes differ, a class out of range.
    """
    if truth.shape != predicted.shape:
        raise BadInput(
            f"evaluation: truth is {truth.shape} and prediction {predicted.shape}; give two arrays of one size"
        )
    seen = truth != ignore
    rows, columns = truth[seen].astype(np.int64), predicted[seen].astype(np.int64)
    for name, values in (("truth", rows), ("prediction", columns)):
        if values.size and (values.min() < 0 or values.max() >= classes):
            worst = int(values.max()) if values.max() >= classes else int(values.min())
            raise BadInput(f"evaluation: {name} holds class {worst}; classes are 0 to {classes - 1}")
    return np.bincount(rows * classes + columns, minlength=classes * classes).reshape(classes, classes)


def confusion_of_image(
    truth: NDArray[Any], logits: NDArray[np.float32], ignore: int = IGNORE, name: str = "an image"
) -> Counts:
    """Count one image (C, C) int64: row its class, column the class of the largest mean logit; ties go to the lowest.

    ``truth`` (H, W) holds one class everywhere, ``logits`` are (C, h, w) at any size. BadInput: it has several or none.
    """
    found = np.unique(truth)
    if len(found) != 1 or int(found[0]) == ignore:
        raise BadInput(
            f"evaluation: {name} has classes {', '.join(map(str, found.tolist()[:8]))}, but its data set is one of "
            "classification, where an image has one; import the data set again"
        )
    predicted = logits.mean(axis=(1, 2), dtype=np.float64).argmax()
    return confusion(found, np.array([predicted]), len(logits), ignore)


def sums(matrix: Counts) -> tuple[Counts, Counts, Counts]:
    """Return the true positives, false positives and false negatives (C,) of a confusion matrix (C, C)."""
    hits = matrix.diagonal().copy()
    return hits, matrix.sum(axis=0) - hits, matrix.sum(axis=1) - hits


def iou(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike) -> Values:
    """Return tp / (tp + fp + fn) per class, float64 (C,) in 0..1; NaN for a class neither in truth nor predicted."""
    hits, extra, missed = (np.asarray(part, dtype=np.float64) for part in (tp, fp, fn))
    union = hits + extra + missed
    ratio: Values = np.divide(hits, union, out=np.full(union.shape, np.nan), where=union > 0)
    return ratio


def iou_from_counts(matrix: Counts) -> Values:
    """Return the IoU per class, float64 (C,), of a confusion matrix (C, C)."""
    return iou(*sums(matrix))


def miou(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike) -> float:
    """Return the mean IoU over the classes in the truth of the split, in 0..1; NaN for a split without labels.

    A class that is predicted but never true lowers others through their false negatives and is not a term itself.
    """
    present = np.asarray(tp, dtype=np.int64) + np.asarray(fn, dtype=np.int64) > 0
    return float(iou(tp, fp, fn)[present].mean()) if present.any() else float("nan")


def accuracy(tp: ArrayLike, fn: ArrayLike) -> float:
    """Return the share of counted pixels or images predicted correctly, in 0..1; NaN for a split without labels.

    Of pixels it is the pixel accuracy, of images (data sets of classification) the accuracy, top-1.
    """
    hits, missed = int(np.sum(tp)), int(np.sum(fn))
    return hits / (hits + missed) if hits + missed else float("nan")
