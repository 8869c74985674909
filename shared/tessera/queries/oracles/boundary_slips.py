"""An annotator whose drawn boundaries lie a little beside the true ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tessera.queries.question import ORACLES, Answer, Question
from tessera.registry import Params


class BoundarySlipsParams(Params):
    """Parameters: how far and how smoothly edges are displaced."""

    sigma: float = Field(default=2.0, ge=0, le=100)
    """Standard deviation of an edge's displacement, pixels."""
    spacing: int = Field(default=16, ge=1)
    """Pixels between independent displacements; between them they blend."""


@ORACLES.register("boundary_slips", BoundarySlipsParams)
def boundary_slips(
    question: Question, answer: Callable[[Question], Answer], params: BoundarySlipsParams, rng: np.random.Generator
) -> Answer:
    """Answer from a truth that is displaced by a smooth random field, normal with ``sigma`` at every pixel.

    The label at a pixel is the image's label at the displaced place (nearest pixel, the edge of the image repeated), so
    a straight edge moves by a normal distance. The region itself does not move; the price is that of the drawn answer.
    """
    if params.sigma == 0:
        return answer(question)
    y0, x0, y1, x1 = question.box
    height, width = question.frame.labels.shape
    shape = (y1 - y0, x1 - x0)
    rows, columns = (params.sigma * field(shape, params.spacing, rng) for _ in range(2))
    ys = np.clip(np.rint(np.arange(y0, y1)[:, None] + rows), 0, height - 1).astype(np.intp)
    xs = np.clip(np.rint(np.arange(x0, x1)[None] + columns), 0, width - 1).astype(np.intp)
    return answer(replace(question, truth=question.frame.labels[ys, xs]))


def field(shape: tuple[int, int], spacing: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a smooth field, (H, W), standard normal at every pixel: bilinear between normal nodes ``spacing`` apart."""
    down, across = (_weights(length, spacing) for length in shape)
    nodes = rng.standard_normal((down.shape[1], across.shape[1]))
    blended: NDArray[np.float64] = down @ nodes @ across.T
    # Blending lowers the variance between nodes; this restores it.
    scale = np.sqrt((down**2).sum(axis=1))[:, None] * np.sqrt((across**2).sum(axis=1))[None]
    return np.asarray(blended / scale)


def _weights(length: int, spacing: int) -> NDArray[np.float64]:
    """Return the linear weights of the nodes for each place on a line."""
    place = np.arange(length) / spacing
    nodes = np.arange(int(place[-1]) + 2)
    return np.asarray(np.clip(1 - np.abs(place[:, None] - nodes[None]), 0, None))
