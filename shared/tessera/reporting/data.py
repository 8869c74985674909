"""The data of a report. Summaries are ``summary.json`` of ``loop.summary``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DrawnRegion:
    """One chosen region to draw on its image."""

    rank: int
    """From 0: the first choice."""
    polygons: tuple[NDArray[np.int32], ...]
    """Outlines as ``regions.outlines`` traces them: (N, 2) corners x, y in pixels of the image."""

    @staticmethod
    def box(rank: int, box: tuple[int, int, int, int]) -> DrawnRegion:
        """Make the outline of a rectangular region from its half-open box y0, x0, y1, x1."""
        y0, x0, y1, x1 = box
        return DrawnRegion(rank, (np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.int32),))


@dataclass(frozen=True)
class Drawing:
    """One image with the regions chosen on it in one round."""

    image_id: str
    rgb: NDArray[np.uint8]
    """(H, W, 3)."""
    regions: tuple[DrawnRegion, ...]


@dataclass(frozen=True)
class LabelledPicture:
    """One image with pseudo labels that a training made from coarser answers."""

    image_id: str
    rgb: NDArray[np.uint8]
    """(H, W, 3)."""
    classes: NDArray[np.uint8]
    """(H, W), the number of classes where undefined, 255 without a label."""
    provenance: NDArray[np.uint8]
    """(H, W): 0 no label, 1 human, 2 localised, 3 expanded."""


@dataclass(frozen=True)
class Scatter:
    """The candidates of one round in a plane."""

    points: NDArray[np.floating[Any]]
    """(N, 2)."""
    ranks: NDArray[np.integer[Any]]
    """(N,) rank of the chosen ones from 0, -1 for the others, -2 for those labelled before."""
    note: str = ""
    """How the plane was made, where the embedding has other than two dimensions."""
    pool: NDArray[np.floating[Any]] = field(default_factory=lambda: np.empty((0, 2)))
    """(M, 2) the whole pool in the same plane, where the candidates are a part of it."""


@dataclass(frozen=True)
class RoundReport:
    """Pictures and answers of one round."""

    round: int
    drawings: tuple[Drawing, ...] = ()
    """A handful of images, best rank first."""
    class_pixels: NDArray[np.int64] | None = None
    """(C,) pixels of each class in the answers of this round, from its ledger."""
    scatter: Scatter | None = None
    labelled: tuple[LabelledPicture, ...] = ()
    """Images with the most pseudo labels of the round's training."""
    losses: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    """Parts of the training's losses by name: (epoch, mean over the epoch)."""
    rates: tuple[float, ...] = ()
    """Learning rate at the end of each epoch."""


@dataclass(frozen=True)
class RunReport:
    """One run: its ``summary.json`` and further data of the report."""

    summary: Mapping[str, Any]
    rounds: tuple[RoundReport, ...] = ()
    class_colors: tuple[tuple[int, int, int], ...] = ()
    """RGB of every class, 0..255; may be empty."""

    @property
    def recipe(self) -> str:
        """Name of the recipe."""
        return str(self.summary["recipe"])

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.summary["seed"])

    @property
    def measured(self) -> list[Mapping[str, Any]]:
        """Complete rounds of the summary."""
        return list(self.summary["rounds"])


@dataclass(frozen=True)
class ReportData:
    """A report: one run, or several runs of one data set that are compared."""

    title: str
    runs: tuple[RunReport, ...]
    description: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    """More lines for the head of the page, such as the command that made it and where the files are."""
    over: str | None = None
    """Unit (``tessera.units``) of the comparison; None: the share of the pool, at the rounds' own budgets."""
