"""The pool of regions to select from, as columns: tens of bytes per region and no Python object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tessera.errors import BadInput
from tessera.regions.keys import RegionKeys

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ImageTimes:
    """Sequence (code, −1 for stills) and time (seconds, NaN for stills) of every image of a pool."""

    sequence: Int64
    time: Float64


@dataclass(frozen=True)
class Pool:
    """Regions that may be chosen, sorted by (image_id, region_id); build with ``Pool.build``."""

    # (n,) keys and pixel counts.
    keys: RegionKeys
    pixels: Int64
    scores: Mapping[str, Float64] = field(default_factory=dict)
    # (n, d), or None where the recipe has no embedding.
    embedding: Float64 | None = None
    # (m, d): embedding of the regions labelled so far, by (image_id, region_id); None where it was not computed.
    labelled: Float64 | None = None
    # Codes of the images in which regions are labelled, sorted.
    labelled_images: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    # Each image's place in its video, by image code; None where the manifest was not read.
    times: ImageTimes | None = None
    # All regions of the data set with their scores, labelled ones too, for distributions over the pool; None unless a
    # stage has the trait ``needs_everything``.
    everything: Pool | None = None

    @classmethod
    def build(
        cls,
        image_ids: npt.NDArray[Any],
        region_ids: npt.NDArray[np.integer[Any]],
        pixels: npt.NDArray[np.integer[Any]],
        scores: Mapping[str, npt.NDArray[Any]] | None = None,
        embedding: npt.NDArray[Any] | None = None,
    ) -> Pool:
        """Return a pool from rows in any order; BadInput when a region appears twice or columns differ in length."""
        scores = scores or {}
        columns = {"region_id": region_ids, "pixels": pixels, **scores}
        if embedding is not None:
            columns["embedding"] = embedding
        for name, column in columns.items():
            if len(column) != len(image_ids):
                raise BadInput(f"pool: column {name} has {len(column)} rows, image_id has {len(image_ids)}")
        keys = RegionKeys.encode(image_ids, region_ids)
        order = keys.order()
        return cls(
            keys.take(order),
            np.asarray(pixels, np.int64)[order],
            {name: np.asarray(column, np.float64)[order] for name, column in scores.items()},
            None if embedding is None else np.asarray(embedding, np.float64)[order],
        )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def image_names(self) -> npt.NDArray[Any]:
        """Return distinct image ids (images,) in code-point order; ``image`` indexes it."""
        return self.keys.image_names

    @property
    def image(self) -> Int64:
        """Return the index (n,) of each region's image in ``image_names``."""
        return self.keys.image

    @property
    def region_id(self) -> Int64:
        """Return the region id (n,) within the image."""
        return self.keys.region_id

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> Pool:
        """Return the rows ``indices``, in the canonical order whatever the order of ``indices``."""
        rows = np.sort(np.asarray(indices, np.int64))
        if len(rows) == len(self) and (rows[1:] > rows[:-1]).all():
            return self
        return replace(
            self,
            keys=self.keys.take(rows),
            pixels=self.pixels[rows],
            scores={name: column[rows] for name, column in self.scores.items()},
            embedding=None if self.embedding is None else self.embedding[rows],
        )

    def locate(self, image_ids: npt.NDArray[Any], region_ids: npt.NDArray[np.integer[Any]]) -> Int64:
        """Return the row of each (image, region) pair, −1 for pairs that are not in the pool."""
        return self.keys.locate(RegionKeys.encode(image_ids, region_ids))

    def without(self, image_ids: npt.NDArray[Any], region_ids: npt.NDArray[np.integer[Any]]) -> Pool:
        """Return the pool less the given regions; pairs that are not in it are ignored."""
        keep = np.ones(len(self), bool)
        rows = self.locate(image_ids, region_ids)
        keep[rows[rows >= 0]] = False
        return self.take(np.flatnonzero(keep))

    def with_scores(
        self,
        image_ids: npt.NDArray[Any],
        region_ids: npt.NDArray[np.integer[Any]],
        scores: Mapping[str, npt.NDArray[Any]],
    ) -> Pool:
        """Return the pool with score columns, rows in any order; BadInput naming a region that has none or two."""
        order = self._cover(image_ids, region_ids, "score")
        kept: dict[str, npt.NDArray[Any]] = {
            name: np.asarray(column, np.float32 if _of_vector(name) else np.float64) for name, column in scores.items()
        }
        return replace(self, scores={name: column[order] for name, column in kept.items()})

    def with_embedding(
        self, image_ids: npt.NDArray[Any], region_ids: npt.NDArray[np.integer[Any]], points: npt.NDArray[Any]
    ) -> Pool:
        """Return the pool with an embedding (m, d), rows in any order; regions not in the pool are dropped."""
        order = self._cover(image_ids, region_ids, "embedding")
        return replace(self, embedding=np.asarray(points, np.float64)[order])

    def with_labelled(
        self, image_ids: npt.NDArray[Any], region_ids: npt.NDArray[np.integer[Any]], points: npt.NDArray[Any] | None
    ) -> Pool:
        """Return the pool with its labelled regions: keys (m,) in any order, and their embedding (m, d), if any."""
        keys = RegionKeys.encode(image_ids, region_ids)
        order = keys.order()
        known = np.flatnonzero(np.isin(self.image_names, keys.image_names))
        return replace(
            self,
            labelled=None if points is None else np.asarray(points, np.float64)[order],
            labelled_images=known.astype(np.int64),
        )

    def with_times(self, where: Mapping[str, tuple[str, float]]) -> Pool:
        """Return the pool with sequence and time (seconds) of images; those of sequence "" or without entry are stills.

        Sequence codes follow the names' code-point order, so that they depend on the data alone.
        """
        found = [where.get(str(name), ("", 0.0)) for name in self.image_names]
        names = {name: code for code, name in enumerate(sorted({name for name, _ in found if name}))}
        sequence = np.array([names.get(name, -1) for name, _ in found], np.int64)
        time = np.array([seconds if name else np.nan for name, seconds in found], np.float64)
        return replace(self, times=ImageTimes(sequence, time))

    @property
    def image_sequence(self) -> Int64:
        """Return the sequence code of each image, −1 where it has none."""
        if self.times is None:
            return np.full(len(self.image_names), -1, np.int64)
        return self.times.sequence

    @property
    def image_time(self) -> Float64:
        """Return the seconds of each image within its sequence, NaN where it has none."""
        return np.full(len(self.image_names), np.nan) if self.times is None else self.times.time

    def components(self, name: str) -> list[npt.NDArray[np.floating[Any]]]:
        """Return columns ``name_0`` … ``name_{C-1}`` of the vector column ``name``, (n,) each; BadInput without any."""
        parts: list[npt.NDArray[np.floating[Any]]] = []
        while (part := self.scores.get(f"{name}_{len(parts)}")) is not None:
            parts.append(part)
        if not parts:
            known = ", ".join(sorted(self.scores)) or "none"
            raise BadInput(f"no score column {name!r} with one value per class; columns: {known}")
        return parts

    def vector(self, name: str) -> Float64:
        """Return the vector column ``name``, (n, C): its ``components`` side by side."""
        return np.stack(self.components(name), axis=1).astype(np.float64)

    def _cover(self, image_ids: npt.NDArray[Any], region_ids: npt.NDArray[np.integer[Any]], what: str) -> Int64:
        """Return the table's row for each row of the pool."""
        rows = self.locate(image_ids, region_ids)
        known = np.flatnonzero(rows >= 0)
        counts = np.bincount(rows[known], minlength=len(self))
        if len(self) and not (counts == 1).all():
            at = int(np.flatnonzero(counts != 1)[0])
            raise BadInput(
                f"{what}: {counts[at]} values for {self.name(at)}, expected one; score the same shards again"
            )
        order = np.empty(len(self), np.int64)
        order[rows[known]] = known
        return order

    def score(self, name: str, stage: str) -> Float64:
        """Return the score column (n,) that a stage asks for; BadInput naming the columns there are."""
        if name not in self.scores:
            known = ", ".join(sorted(self.scores)) or "none"
            raise BadInput(f"selection stage {stage}: no score column {name!r}; columns: {known}")
        return self.scores[name]

    def name(self, row: int) -> str:
        """Return a row's name for messages: "region 3 of image a.png"."""
        return self.keys.name(row)


@dataclass(frozen=True)
class Choice:
    """Rows of a pool in rank order, with the score and cluster that made them chosen."""

    # (k,) distinct rows of the pool the stage was given.
    rows: Int64
    # (k,), NaN and -1 where the stage has none; None keeps those of an earlier stage.
    score: Float64 | None = None
    cluster: Int64 | None = None
    # A remark for people about this choice; may be empty.
    note: str = ""
    # New score columns (k,) of the rows, for the stages that follow; named in the trait ``makes_columns``.
    columns: Mapping[str, Float64] = field(default_factory=dict)


StageFunction = Callable[[Pool, Any, int, np.random.Generator], Choice]
"""(pool, params, count, rng) -> choice. ``count`` is how many regions the budget can pay for at most; a stage whose own
parameter ``count`` is null keeps that many, and one that only leaves regions out ignores it."""


class Constraint(Protocol):
    """A rule between the regions of one choice, applied to one region at a time in rank order."""

    def allows(self, row: int) -> bool:
        """Return whether a row of the pool may join those accepted so far."""
        ...

    def accept(self, row: int) -> None:
        """Count a row among the chosen."""
        ...

    def open(self) -> npt.NDArray[np.bool_]:
        """Return which rows (n,) may still join."""
        ...


ConstraintFunction = Callable[[Pool, Any], Constraint]
"""(pool, params) -> a constraint that has accepted nothing yet."""


def _of_vector(name: str) -> bool:
    """Return whether a column is one class of a vector: there are C of them, so they stay float32, as in the table."""
    return name.rpartition("_")[2].isdecimal()
