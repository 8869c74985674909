"""Questions and rounds for tests of adapters, as QuestionsService would return them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tessera.pb.questions_pb2 import PersonQuestion, QuestionRound
from tessera.queries.given import mask_to_runs


def question(
    region: np.ndarray[Any, np.dtype[np.bool_]],
    points: Sequence[tuple[int, int]] = (),
    rank: int = 0,
    image_id: str = "image",
) -> PersonQuestion:
    """The question about a region, given as a mask of its whole image."""
    ys, xs = np.nonzero(region)
    y0, x0, y1, x1 = int(ys.min()), int(xs.min()), int(ys.max()) + 1, int(xs.max()) + 1
    made = PersonQuestion(
        question_id=f"{'ab' * 32}.{rank}",
        rank=rank,
        image_id=image_id,
        image_height=region.shape[0],
        image_width=region.shape[1],
        pixels=len(ys),
    )
    made.image.key, made.image.sha256, made.image.media_type = "datasets/d/image.png", "cd" * 32, "image/png"
    made.box.y0, made.box.x0, made.box.y1, made.box.x1 = y0, x0, y1, x1
    made.region.counts.extend(mask_to_runs(region[y0:y1, x0:x1]))
    for y, x in points:
        made.points.add(y=y, x=x)
    return made


def round_of(
    query: str, names: Sequence[str] = ("class 0", "class 1", "class 2"), colors: Sequence[str] = ()
) -> QuestionRound:
    """A round of a query about classes of these names."""
    made = QuestionRound(key="ab" * 32, run_ids=["run"], round=1, ignore_index=255, overlap=1, dataset_name="street")
    made.query.name = query
    colors = colors or [f"#{index:02x}{2 * index:02x}{3 * index:02x}" for index in range(1, len(names) + 1)]
    for index, (name, color) in enumerate(zip(names, colors, strict=True)):
        made.classes.add(index=index, name=name, color=color)
    return made
