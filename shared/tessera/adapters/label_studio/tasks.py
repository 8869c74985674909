"""Questions as Label Studio's tasks: the image, the region as an outline, and the model's answer as a prediction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tessera.adapters.label_studio import config, rle
from tessera.adapters.tasks import ToolRound, ToolTask, outline

_LEAST_SHARE: Final = 0.05
"""Share of the region's pixels from which a predicted class is offered as a choice of several."""


def to_task(round_: ToolRound, task: ToolTask, image: str) -> dict[str, Any]:
    """Return a task as Label Studio imports it; ``image`` is the address of the image.

    The region is in the prediction, because Label Studio shows a task's prediction to whoever opens it: outlines that
    cannot be edited, which together cover the region to the pixel. ``score`` is the share of the region's pixels that
    the model gives to its most frequent class, and that of each class beside its shape: how far the prediction is of
    one mind, not how uncertain the model is.
    """
    results = [*_region(round_, task), *_points(round_, task), *_predicted(round_, task)]
    shares = task.shares()
    made: dict[str, Any] = {
        "result": [
            {
                "id": f"{one['from_name']}-{at}",
                "to_name": config.IMAGE,
                "original_width": task.width,
                "original_height": task.height,
                "image_rotation": 0,
                **one,
            }
            for at, one in enumerate(results)
        ],
        "model_version": model_version(round_),
    }
    if shares:
        made["score"] = round(max(shares.values()), 6)
    data = {
        "image": image,
        "question": task.question_id,
        "run": round_.run_id,
        "round": round_.round,
        "rank": task.rank,
        "image_id": task.image_id,
    }
    return {"data": data, "predictions": [made]}


def model_version(round_: ToolRound) -> str:
    """Return the version of the predictions of a round: Label Studio shows those of one version."""
    return f"{round_.run_id} round {round_.round}"[:256]


def _percent(task: ToolTask, corners: NDArray[Any]) -> list[list[float]]:
    """Return x, y in hundredths of the image's size, as Label Studio stores them."""
    return [[100.0 * x / task.width, 100.0 * y / task.height] for x, y in np.asarray(corners).tolist()]


def _region(round_: ToolRound, task: ToolTask) -> Iterator[dict[str, Any]]:
    if round_.query == "image":
        return
    for loop in task.outlines():
        value = {"points": _percent(task, loop), "closed": True, "polygonlabels": [config.REGION]}
        yield {"type": "polygonlabels", "from_name": config.REGION, "readonly": True, "value": value}


def _points(round_: ToolRound, task: ToolTask) -> Iterator[dict[str, Any]]:
    if round_.shape == "points":
        for y, x in task.points:
            yield {
                "type": "keypointlabels",
                "from_name": config.POINTS,
                "readonly": True,
                "value": {**_mark(task, y, x), "keypointlabels": [config.POINTS]},
            }


def _mark(task: ToolTask, y: int, x: int) -> dict[str, float]:
    return {"x": 100.0 * (x + 0.5) / task.width, "y": 100.0 * (y + 0.5) / task.height, "width": 0.4}


def _predicted(round_: ToolRound, task: ToolTask) -> Iterator[dict[str, Any]]:
    """Yield the model's answer as the annotation that would give it."""
    if task.prediction is None:
        return
    shares = task.shares()
    if round_.shape in ("one", "all"):
        chosen = list(shares)[:1]
        if round_.shape == "all":
            chosen += [value for value in list(shares)[1:] if shares[value] >= _LEAST_SHARE]
        names = {"choices": [round_.name(one) for one in chosen]}
        score = round(min(shares[one] for one in chosen), 6)
        yield {"type": "choices", "from_name": config.CHOICES, "value": names, "score": score}
    elif round_.shape == "points":
        y0, x0, _, _ = task.box
        for y, x in task.points:
            label = round_.name(int(task.prediction[y - y0, x - x0]))
            marked = {**_mark(task, y, x), "keypointlabels": [label]}
            yield {"type": "keypointlabels", "from_name": config.MARKS, "value": marked}
    elif round_.query == "polygon_in_patch":
        yield from _polygons(round_, task)
    else:
        for value, mask in task.predicted():
            drawn = {"format": "rle", "rle": rle.encode(task.in_image(mask)), "brushlabels": [round_.name(value)]}
            yield {"type": "brushlabels", "from_name": config.BRUSH, "value": drawn, "score": round(shares[value], 6)}


def _polygons(round_: ToolRound, task: ToolTask) -> Iterator[dict[str, Any]]:
    """Yield the outer outlines of the predicted classes, the largest first: what lies in a hole is drawn on top."""
    loops = []
    for value, mask in task.predicted():
        for loop in outline(mask, task.box):
            x, y = loop[:, 0].astype(np.int64), loop[:, 1].astype(np.int64)
            area = int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
            # Holes turn the other way.
            if area > 0:
                loops.append((area, value, loop))
    shares = task.shares()
    for _, value, loop in sorted(loops, key=lambda one: -one[0]):
        points = {"points": _percent(task, loop), "closed": True, "polygonlabels": [round_.name(value)]}
        yield {"type": "polygonlabels", "from_name": config.POLYGON, "value": points, "score": round(shares[value], 6)}
