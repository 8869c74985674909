"""Mask query: the annotator draws the class of every pixel of the region."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tessera.queries.question import FORMATS, Answer, Question
from tessera.registry import Params

OUTSIDE = 255
"""Value of the crop outside the region and where the truth is undefined."""


class MaskParams(Params):
    """How a mask is priced; none of these changes the labels."""

    min_pixels: int = Field(default=16, ge=1)
    """Components smaller than this are not drawn (unless the region has no larger one)."""
    epsilon: float = Field(default=2.0, gt=0)
    """Tolerance of the polygons, pixels."""
    seconds_per_click: float = Field(default=3.15, gt=0)
    """An assumption, not a measurement: Cityscapes reports 1.5 h an image, and the polygon cost model counts 5,095,159
    clicks for its 2,975 training images: 5,400 s / 1,713 clicks."""


class _Component(NamedTuple):
    label: int
    pixels: int
    vertices: int
    first: tuple[int, int]
    """Row and column of its first pixel, reading the box row by row; no two components share it."""


@FORMATS.register("mask", MaskParams)
def mask(question: Question, params: MaskParams) -> Answer:
    """Answer with the truth inside the region and price it by the polygon cost model.

    Clicks (Cai et al. 2021's polygon cost, for data sets that have no polygons): every 8-connected component of one
    class with at least ``min_pixels`` pixels inside the region costs one click for its class and one for each vertex of
    its outlines, holes included, after Douglas-Peucker simplification with tolerance ``epsilon``. If no component is
    that large, the largest one is drawn, so that no answer is free; of equally large ones the one whose first pixel
    comes first, row by row, whatever its class. The undefined class is drawn like any other;
    ``clicks_without_undefined`` leaves its components out. Seconds = clicks × ``seconds_per_click``.
    """
    undefined = question.ignore_index
    classes = np.unique(question.truth[question.inside])
    components = [
        component
        for label in classes.tolist()
        for component in _components((question.truth == label) & question.inside, label, params)
    ]
    drawn = [component for component in components if component.pixels >= params.min_pixels]
    if not drawn:
        drawn = [min(components, key=lambda component: (-component.pixels, component.first))]
    clicks = sum(1 + component.vertices for component in drawn)
    crop = np.where(question.inside & (question.truth != undefined), question.truth, OUTSIDE).astype(np.uint8)
    return Answer(
        classes=tuple(classes.tolist()),
        pixels=int(question.inside.sum()),
        clicks=clicks,
        clicks_without_undefined=sum(1 + component.vertices for component in drawn if component.label != undefined),
        seconds=clicks * params.seconds_per_click,
        crop=crop,
    )


def _components(pixels: NDArray[np.bool_], label: int, params: MaskParams) -> list[_Component]:
    """Measure every 8-connected component of one class: its pixels and the vertices of its outlines."""
    import cv2

    count, ids, stats, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), connectivity=8)
    found = []
    for index in range(1, count):
        x, y, width, height, size = stats[index].tolist()
        component = ids[y : y + height, x : x + width] == index
        contours, _ = cv2.findContours(component.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        vertices = sum(len(cv2.approxPolyDP(contour, params.epsilon, True)) for contour in contours)
        found.append(_Component(label, size, vertices, (y, x + int(component[0].argmax()))))
    return found
