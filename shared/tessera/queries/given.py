"""Answers that people gave: from what was sent to the answer that is priced and trained on, and agreement between them.

A raster is what a person drew; it takes the place of the truth in the query's own function, so that an answer equal to
the truth gives the same row as the simulated oracle, clicks of the cost model included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.queries.choices import choose, study_seconds
from tessera.queries.formats.pixel import PixelParams, drawn
from tessera.queries.question import FORMATS, AnnotatedImage, Answer, Question
from tessera.registry import Params


@dataclass(frozen=True)
class Given:
    """What one person answered: classes (of the region, or one per point), or a raster of the box."""

    classes: tuple[int, ...] = ()
    raster: NDArray[np.uint8] | None = None
    """(y1 - y0, x1 - x0) class index or ignore index; pixels outside the region are not read."""


def shape_of(query: str) -> str:
    """Return what answers to a query hold: ``one`` or ``all`` (classes), ``points`` or ``raster``."""
    traits = FORMATS.entry(query).traits
    return traits.choice or ("points" if traits.counts_pixels else "raster")


def runs_to_mask(counts: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """Decode ``BoxMask.counts``: bool (height, width). BadInput unless the lengths add up."""
    if sum(counts) != height * width:
        raise BadInput(f"region: runs of {sum(counts)} pixels for a box of {height}×{width}; they must add up")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, np.asarray(counts, np.int64)).reshape(height, width)


def mask_to_runs(mask: NDArray[np.bool_]) -> list[int]:
    """Encode a bool (H, W) mask as ``BoxMask.counts``: outside first, row by row."""
    flat = mask.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def runs_to_raster(values: Sequence[int], lengths: Sequence[int], height: int, width: int) -> NDArray[np.uint8]:
    """Decode a ``RasterAnswer``: uint8 (height, width). BadInput names what does not fit."""
    if len(values) != len(lengths):
        raise BadInput(f"raster: {len(values)} values and {len(lengths)} lengths; give one length for each value")
    if sum(lengths) != height * width:
        raise BadInput(f"raster: runs of {sum(lengths)} pixels for a box of {height}×{width}; they must add up")
    if any(value > 255 for value in values):
        raise BadInput(f"raster: value {max(values)} is no class index; give 0 to 255")
    return np.repeat(np.asarray(values, np.uint8), np.asarray(lengths, np.int64)).reshape(height, width)


def raster_to_runs(raster: NDArray[np.uint8]) -> tuple[list[int], list[int]]:
    """Encode a uint8 (H, W) raster as values and lengths of runs, row by row."""
    flat = raster.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    return flat[starts].tolist(), np.diff(starts, append=flat.size).tolist()


def check(given: Given, query: str, classes: int, ignore_index: int, points: int) -> None:
    """Raise BadInput unless the answer fits the query: its kind, its number of classes, their range."""
    shape = shape_of(query)
    if (given.raster is None) == (shape == "raster"):
        raise BadInput(f"answer: query {query} is answered by {_KINDS[shape]}")
    values = given.classes if given.raster is None else np.unique(given.raster).tolist()
    for value in values:
        if not 0 <= value < classes and value != ignore_index:
            raise BadInput(
                f"answer: class {value} does not exist; give 0 to {classes - 1}, or {ignore_index} for undefined"
            )
    if shape == "one" and len(given.classes) != 1:
        raise BadInput(f"answer: query {query} names exactly one class, not {len(given.classes)}")
    if shape == "all" and (not given.classes or list(given.classes) != sorted(set(given.classes))):
        raise BadInput(f"answer: query {query} names one class or more, each once and in ascending order")
    if shape == "points" and len(given.classes) != points:
        raise BadInput(f"answer: {len(given.classes)} classes for {points} points; give one for each")


_KINDS = {"one": "classes", "all": "classes", "points": "points", "raster": "a raster"}


def agreement(answers: Sequence[Given], query: str, inside: NDArray[np.bool_]) -> float:
    """Return how far annotators agree, 0..1: the mean over all pairs; -1 for fewer than two answers.

    Of a pair: the share of the region's pixels (or of the points) with equal classes; for named classes the size of the
    intersection over that of the union.
    """
    pairs = [(one, other) for at, one in enumerate(answers) for other in answers[at + 1 :]]
    if not pairs:
        return -1.0
    return float(np.mean([_agree(one, other, query, inside) for one, other in pairs]))


def _agree(one: Given, other: Given, query: str, inside: NDArray[np.bool_]) -> float:
    if one.raster is not None and other.raster is not None:
        return float(np.mean(one.raster[inside] == other.raster[inside]))
    if shape_of(query) == "points":
        return float(np.mean(np.asarray(one.classes) == np.asarray(other.classes)))
    return len(set(one.classes) & set(other.classes)) / len(set(one.classes) | set(other.classes))


def resolved(answers: Sequence[Given], query: str, ignore_index: int) -> Given:
    """Return the one answer that several stand for: the majority of pixels, points or classes.

    ``answers`` are in the order of time. Pixels and points without a majority (more votes than any other class) become
    undefined. Of named classes, those that more than half of the annotators name; where there is none, those of the
    last annotator.
    """
    if len(answers) == 1:
        return answers[0]
    shape = shape_of(query)
    if shape in ("one", "all"):
        named = [label for label in sorted({label for one in answers for label in one.classes})]
        major = tuple(label for label in named if 2 * sum(label in one.classes for one in answers) > len(answers))
        return Given(major or answers[-1].classes)
    if shape == "points":
        return Given(tuple(_majority(np.array([one.classes for one in answers]), ignore_index).tolist()))
    stacked = np.stack([one.raster for one in answers if one.raster is not None])
    flat = _majority(stacked.reshape(len(stacked), -1), ignore_index)
    return Given((), flat.astype(np.uint8).reshape(stacked.shape[1:]))


def _majority(votes: NDArray[Any], ignore_index: int) -> NDArray[np.int64]:
    """Return the value with most votes in each column of (A, N); the ignore index where two have equally many."""
    values = np.unique(votes)
    counts = np.stack([np.count_nonzero(votes == value, axis=0) for value in values])
    most = counts.max(axis=0)
    winner = values[counts.argmax(axis=0)].astype(np.int64)
    return np.where(np.count_nonzero(counts == most, axis=0) == 1, winner, ignore_index)


def to_answer(question: Question, given: Given, query: tuple[str, Params]) -> Answer:
    """Price a person's answer by the query's cost model; the same as the simulated oracle's where both say the same.

    The time that the model of a named class takes counts the classes that the person named, because nothing else is
    known of what the region shows. ``question`` holds the region; its truth is not read.
    """
    name, params = query
    traits = FORMATS.entry(name).traits
    if traits.choice is not None:
        seconds = study_seconds(params.seconds, params.seconds_more, len(given.classes))  # type: ignore[attr-defined]
        return choose(question, given.classes, traits.choice, given.classes, seconds)
    y0, x0, y1, x1 = question.box
    labels = np.full(question.frame.labels.shape, question.ignore_index, np.uint8)
    inside = labels[y0:y1, x0:x1]
    if given.raster is not None:
        inside[question.inside] = given.raster[question.inside]
    elif isinstance(params, PixelParams):
        at = np.unravel_index(drawn(question, params), inside.shape)
        inside[at] = given.classes
    frame = question.frame
    image = AnnotatedImage(frame.image_id, labels, frame.regions, frame.ignore_index, frame.classes)
    seen = replace(image.question(question.region_id, question.box), seed=question.seed)
    return FORMATS.entry(name).function(seen, params)


def priced(question: Question, given: Sequence[Given], query: tuple[str, Params], ignore_index: int) -> Answer:
    """Return the answer that several stand for (`resolved`), at the price of all of them."""
    reply = to_answer(question, resolved(given, query[0], ignore_index), query)
    if len(given) == 1:
        return reply
    each = [to_answer(question, one, query) for one in given]
    return replace(
        reply,
        clicks=sum(one.clicks for one in each),
        clicks_without_undefined=sum(one.clicks_without_undefined for one in each),
        seconds=sum(one.seconds for one in each),
    )
