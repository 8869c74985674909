"""Pseudo labels in exported labels: beside the answers of people, never over them, each pixel with its source.

A training that makes labels of pixels from the classes of regions leaves two planes per image (`schemas.PLANES`):
classes, and where each comes from. Here they meet the answers with pixels, and the map of regions says whose they are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.formats.exports import NOBODY, AnsweredImage, LabelledPart, who
from tessera.queries.given import shape_of

SOURCES: Final = ("none", "human", "localised", "expanded")
"""Of a pixel, by value of the plane: nobody labelled it; an answer names its class or its class alone for its region;
the training chose among the classes of an answer for its region; the training carried a class over from an answered
neighbour."""
_HUMAN: Final = 1
TABLE: Final = (
    *("image_id", "region_id", "source", "pixels", "classes", "oracle", "annotator", "answered_at", "asked_in_round"),
    *("query", "event_id", "run", "round", "model_sha256"),
)
"""Columns of ``regions.csv``: one row per image, region and source. ``asked_in_round`` … ``event_id`` are of the
region's answer, empty where it has none; ``run``, ``round`` and ``model_sha256`` of the model that made pseudo labels,
empty for those of people."""


@dataclass(frozen=True)
class Maker:
    """The model that made pseudo labels: stage one of the training of a round."""

    run: str
    round: int
    model_sha256: str


def add(
    answered: AnsweredImage,
    rows: Sequence[Mapping[str, Any]],
    planes: Mapping[str, NDArray[np.uint8]],
    regions: NDArray[np.int32],
    classes: int,
    maker: Maker,
) -> AnsweredImage:
    """Return the image with pseudo labels where no answer gave a label, and with the source of each pixel.

    ``rows``: the image's answers, those without pixels too; ``planes``: ``classes`` and ``provenance`` (H, W) uint8 of
    the training, empty where it made none; ``regions``: the image's region map (H, W). A pixel that an answer calls
    undefined keeps its source and has the ignore index, as does one of the further class undefined, ``classes``.
    BadInput where sizes or values do not fit.
    """
    name = answered.item.image_id
    made = {"classes": np.full(regions.shape, NOBODY, np.uint8), "provenance": np.zeros(regions.shape, np.uint8)}
    made |= planes
    for plane, values in made.items():
        if values.shape != answered.labels.shape:
            raise BadInput(f"pseudo labels of {name}: {plane} has shape {values.shape}, its image {regions.shape}")
    if made["provenance"].max(initial=0) >= len(SOURCES):
        raise BadInput(f"pseudo labels of {name}: source {made['provenance'].max()}; known are 0 to {len(SOURCES) - 1}")
    labels, sources = made["classes"].copy(), made["provenance"].copy()
    labels[labels >= classes] = NOBODY
    given = _given(answered, regions)
    labels[given], sources[given] = answered.labels[given], _HUMAN
    latest = {int(row["region_id"]): row for row in rows}
    parts, table = [], []
    for region, source, pixels in _pieces(regions, sources):
        values = labels[pixels]
        found = [int(label) for label in np.unique(values) if label != NOBODY]
        row = latest.get(region, {})
        table.append(_line(name, region, source, len(values), found, row, maker))
        told = _told(source, row, maker) | {"region_id": region}
        for label in found:
            chosen = tuple(axis[values == label] for axis in pixels)
            fresh = ~given[chosen]  # the answers with pixels are there already, each with its own who
            if fresh.any():
                parts.append(LabelledPart(told, label, (chosen[0][fresh], chosen[1][fresh])))
    return replace(answered, labels=labels, sources=sources, parts=tuple(parts), table=tuple(table))


def _given(answered: AnsweredImage, regions: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return the pixels (H, W) that answers with pixels decide, undefined ones too."""
    given: NDArray[np.bool_] = answered.labels != NOBODY
    for row, _ in answered.crops:
        # A person who paints or names a whole region has looked at all of it; points leave the rest open.
        if shape_of(str(row["query"])) in ("raster", "one"):
            box = np.s_[int(row["y0"]) : int(row["y1"]), int(row["x0"]) : int(row["x1"])]
            given[box] |= regions[box] == int(row["region_id"])
    return given


def _pieces(
    regions: NDArray[np.int32], sources: NDArray[np.uint8]
) -> Iterator[tuple[int, int, tuple[NDArray[np.int64], NDArray[np.int64]]]]:
    """Yield region, source and pixels (rows, columns) of every part of a region that has one source, in order."""
    y, x = np.nonzero(sources)
    if not len(y):
        return
    keys = regions[y, x].astype(np.int64) * len(SOURCES) + sources[y, x]
    order = np.argsort(keys, kind="stable")
    edges = np.flatnonzero(np.diff(keys[order])) + 1
    for piece in np.split(order, edges):
        region, source = divmod(int(keys[piece[0]]), len(SOURCES))
        yield region, source, (y[piece], x[piece])


def _told(source: int, row: Mapping[str, Any], maker: Maker) -> dict[str, Any]:
    if source == _HUMAN:
        return who(row) if row else {"source": SOURCES[_HUMAN]}
    made = {"source": SOURCES[source], "run": maker.run, "round": maker.round, "model_sha256": maker.model_sha256}
    return made | ({"answer": who(row)} if row else {})


def _line(
    image_id: str,
    region: int,
    source: int,
    pixels: int,
    classes: Sequence[int],
    row: Mapping[str, Any],
    maker: Maker,
) -> dict[str, Any]:
    """Return one row of `TABLE`."""
    told = who(row) if row else {}
    by_model = {"run": maker.run, "round": maker.round, "model_sha256": maker.model_sha256} if source > _HUMAN else {}
    return {
        "image_id": image_id,
        "region_id": region,
        "source": SOURCES[source],
        "pixels": pixels,
        "classes": " ".join(map(str, classes)),
        "oracle": told.get("source", ""),
        "annotator": told.get("annotator", ""),
        "answered_at": told.get("answered_at", ""),
        "asked_in_round": told.get("round", ""),
        "query": str(row["query"]) if row else "",
        "event_id": str(row["event_id"]) if row else "",
        **by_model,
    }


def table(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return ``regions.csv``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, TABLE, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def description(maker: Maker) -> dict[str, Any]:
    """Return what ``provenance.json`` says about pseudo labels."""
    sources = {str(value): name for value, name in enumerate(SOURCES)}
    return {"run": maker.run, "round": maker.round, "model_sha256": maker.model_sha256, "sources": sources}
