"""Class probabilities of pixels, strip by strip: no array of size C×H×W is made."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tessera.acquisition.interfaces import Float32, Int32, Strip
from tessera.acquisition.scoring.fused_pass import STRIP_BYTES, axis_weights


def probability_strips(logits: Float32, shape: tuple[int, int]) -> Iterator[tuple[int, Float32, Int32]]:
    """Yield first row, softmax (C, rows, W) and predicted class (rows, W) of strips of upsampled ``logits`` (C, h, w).

    Computed by the kernel of the fused pass; the arrays of each strip are new.
    """
    from tessera.acquisition.scoring.softmax_kernel import fill_strip

    classes, (height, width) = len(logits), shape
    given = np.ascontiguousarray(logits, np.float32)
    vertical, horizontal = axis_weights(given.shape[1], height), axis_weights(given.shape[2], width)
    rows = min(height, max(1, STRIP_BYTES // (8 * classes * width)))
    for first in range(0, height, rows):
        depth = min(rows, height - first)
        total, log_total, dot = np.empty((3, depth * width), np.float32)
        predicted = np.empty(depth * width, np.int32)
        exps = np.empty((classes, depth * width), np.float32)
        strip = Strip(total, log_total, dot, np.empty(0, np.float32), predicted, exps)
        fill_strip(given, first, depth, (vertical, horizontal), strip)
        exps /= total
        yield first, exps.reshape(classes, depth, width), predicted.reshape(depth, width)
