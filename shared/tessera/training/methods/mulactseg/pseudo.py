"""Pseudo labels of pixels from the classes of regions: prototypes, localisation, expansion (MulActSeg, section 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tessera.models.upsample import between
from tessera.models.upsample import upsampled as upsampled_logits
from tessera.regions.geometry import adjacency
from tessera.regions.table import region_table
from tessera.training.checks import IGNORE
from tessera.training.methods.mulactseg import coarse
from tessera.training.methods.mulactseg.coarse import Floats

if TYPE_CHECKING:
    from tessera.training.methods.mulactseg.params import PseudoLabels

NONE, HUMAN, LOCALISED, EXPANDED = range(4)
"""Values of plane ``provenance``: no label; the one class that an answer names; chosen among the classes of an answer;
carried over from an answered neighbour."""


class Labels(NamedTuple):
    """Pseudo labels of one image."""

    classes: NDArray[np.uint8]
    """(H, W), undefined is the number of classes, 255 unlabelled."""
    provenance: NDArray[np.uint8]
    """(H, W), ``NONE``, ``HUMAN``, ``LOCALISED`` or ``EXPANDED``."""


class Answers(NamedTuple):
    """Regions of one image and their answers."""

    regions: NDArray[np.int32]
    """(H, W) region ids."""
    asked: NDArray[np.int64]
    """(n,) ids with an answer, ascending."""
    classes: NDArray[np.bool_]
    """(n, K) the classes that each answer names."""


def pseudo_labels(features: Floats, logits: Floats, answers: Answers, params: PseudoLabels, scale: float) -> Labels:
    """Label the pixels of answered regions, and similar pixels of unanswered neighbours (Eq. 8 and 11 to 13).

    ``features`` (D, h, w) are the classifier's input, ``logits`` (K, h', w'). Both are upsampled to the image.
    ``scale`` multiplies the logits before the softmax (the classifier's temperature over that of Eq. 8).
    """
    height, width = answers.regions.shape
    table = region_table(answers.regions)
    full = upsampled_logits(logits, (height, width)) * np.float32(scale)
    full -= np.log(np.exp(full - full.max(0)).sum(0)) + full.max(0)
    image = _Image(answers.regions, np.full((height, width), IGNORE, np.uint8), np.zeros((height, width), np.uint8))
    own = [_pixels(answers.regions, int(region), table.box(int(region))) for region in answers.asked]
    if params.localisation == "confident":
        for (y, x), named in zip(own, answers.classes, strict=True):
            _localise(image, y, x, np.flatnonzero(named), full[named][:, y, x])
        return Labels(image.classes, image.provenance)

    rows, columns = between(height, features.shape[1]), between(width, features.shape[2])
    unit = features / np.maximum(np.sqrt((features * features).sum(0)), 1e-12)
    length = coarse.lengths(unit, rows, columns) if params.renormalise else None
    best = np.full((height, width), -np.inf, np.float32)
    around = _unanswered_neighbours(answers)
    for number, ((y, x), named) in enumerate(zip(own, answers.classes, strict=True)):
        region, present = int(answers.asked[number]), np.flatnonzero(named)
        found = full[present][:, y, x].argmax(1)
        near = around.get(region, [])
        y0, x0, y1, x1 = _box([table.box(one) for one in (region, *near)])
        prototypes = coarse.vectors(unit, rows.at(y[found]), columns.at(x[found]))
        dots = (prototypes @ unit.reshape(len(unit), -1)).reshape(len(present), *unit.shape[1:])
        cosine = coarse.upsampled(dots, rows.at(slice(y0, y1)), columns.at(slice(x0, x1)))
        if length is not None:
            cosine /= np.maximum(length[y0:y1, x0:x1] * length[y[found], x[found]][:, None, None], 1e-12)
        np.minimum(cosine, 1.0, out=cosine)
        mine = cosine[:, y - y0, x - x0]
        nearest = _localise(image, y, x, present, mine)
        if params.expansion != "none" and near:
            part = (slice(y0, y1), slice(x0, x1))
            reached = np.isin(answers.regions[part], near)
            _expand(image, part, reached, present, cosine, thresholds(mine, nearest), params, best)
    return Labels(image.classes, image.provenance)


def thresholds(cosine: Floats, nearest: NDArray[np.int64]) -> Floats:
    """Return α_c(s) of Eq. 12: the lower median of the cosines (n, P) of pixels whose ``nearest`` (P,) prototype is c.

    1 for a prototype that is nearest to no pixel: no cosine exceeds it, so it is never carried over.
    """
    found = np.ones(len(cosine), np.float32)
    for c in range(len(cosine)):
        values = np.sort(cosine[c, nearest == c])
        if len(values):
            found[c] = values[(len(values) - 1) // 2]
    return found


class _Image(NamedTuple):
    regions: NDArray[np.int32]
    classes: NDArray[np.uint8]
    provenance: NDArray[np.uint8]


def _pixels(
    regions: NDArray[np.int32], region: int, box: tuple[int, int, int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of a region's pixels."""
    y0, x0, y1, x1 = box
    y, x = np.nonzero(regions[y0:y1, x0:x1] == region)
    return y + y0, x + x0


def _box(boxes: list[tuple[int, int, int, int]]) -> tuple[int, int, int, int]:
    """Return the smallest box around all."""
    y0, x0, y1, x1 = np.array(boxes).T
    return int(y0.min()), int(x0.min()), int(y1.max()), int(x1.max())


def _unanswered_neighbours(answers: Answers) -> dict[int, list[int]]:
    """Return N(s) of each answered region s: regions without an answer that touch it, by a side or a corner."""
    asked = set(answers.asked.tolist())
    found: dict[int, list[int]] = {}
    for a, b in adjacency(answers.regions, diagonal=True).tolist():
        for one, other in ((a, b), (b, a)):
            if one in asked and other not in asked:
                found.setdefault(one, []).append(other)
    return found


def _localise(
    image: _Image, y: NDArray[np.int64], x: NDArray[np.int64], present: NDArray[np.int64], likeness: Floats
) -> NDArray[np.int64]:
    """Give each pixel of a region the class that it is most like (Eq. 11); returns its place in ``present``."""
    nearest: NDArray[np.int64] = likeness.argmax(0)
    image.classes[y, x] = present[nearest]
    image.provenance[y, x] = HUMAN if len(present) == 1 else LOCALISED
    return nearest


def _expand(
    image: _Image,
    part: tuple[slice, slice],
    reached: NDArray[np.bool_],
    present: NDArray[np.int64],
    cosine: Floats,
    alpha: Floats,
    params: PseudoLabels,
    best: Floats,
) -> None:
    """Carry classes over to the pixels ``reached`` of a window (Eq. 13, or the code's rule)."""
    enough = cosine > alpha[:, None, None]
    likeness = np.where(enough, cosine, -np.inf) if params.expansion == "paper" else cosine
    nearest, value = likeness.argmax(0), likeness.max(0)
    taken = reached & enough.any(0)
    if params.conflict == "max":
        taken &= value > best[part]
    image.classes[part][taken] = present[nearest[taken]]
    image.provenance[part][taken] = EXPANDED
    best[part][taken] = value[taken]
