"""Uncertainty of a mean IoU: its spread over samples of images from the same source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.evaluation.confusion import Counts

_CHUNK = 256


@dataclass(frozen=True)
class Interval:
    """A point estimate and the ends of its interval, in 0..1."""

    value: float
    low: float
    high: float
    level: float


def bootstrap_miou(per_image: Counts, rng: np.random.Generator, resamples: int = 2000, level: float = 0.95) -> Interval:
    """Return the percentile interval of the mean IoU when images are drawn with replacement.

    ``per_image`` is (N, C, C) int64, one confusion matrix per image. Images of one video are similar, so that their
    interval is too narrow: it is a lower bound of the uncertainty. BadInput: no image, level outside (0, 1).
    """
    if per_image.ndim != 3 or not len(per_image):
        raise BadInput(f"bootstrap: confusion counts of shape {per_image.shape}; give (images, classes, classes)")
    if not 0.0 < level < 1.0 or resamples < 1:
        raise BadInput(f"bootstrap: level {level} and {resamples} resamples; give 0 < level < 1 and at least 1")
    images = len(per_image)
    terms = np.stack([per_image.diagonal(axis1=1, axis2=2), per_image.sum(axis=1), per_image.sum(axis=2)], axis=1)
    flat = terms.reshape(images, -1).astype(np.float64)
    draws: list[NDArray[np.float64]] = []
    for start in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - start)
        weights = rng.multinomial(images, np.full(images, 1.0 / images), size=count).astype(np.float64)
        draws.append(_miou((weights @ flat).reshape(count, 3, -1)))
    low, high = np.nanquantile(np.concatenate(draws), [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    value = _miou(terms.sum(axis=0, dtype=np.float64)[None])[0]
    return Interval(float(value), float(low), float(high), level)


def _miou(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map (B, 3, C) of hits, predicted and true pixels → (B,) mean IoU over the classes in each draw's truth."""
    hits, predicted, true = terms[:, 0], terms[:, 1], terms[:, 2]
    present = true > 0
    ratio = np.divide(hits, predicted + true - hits, out=np.zeros_like(hits), where=present)
    terms_present = present.sum(axis=1)
    means: NDArray[np.float64] = np.divide(
        ratio.sum(axis=1), terms_present, out=np.full(len(hits), np.nan), where=terms_present > 0
    )
    return means
