"""``tessera advise``: which kind of strategy suits a data set and a budget, with the evidence."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tessera.cli.progress import ProgressBar
from tessera.errors import BadInput
from tessera.loop.advice import Domain
from tessera.registry import Params

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tessera.acquisition.diagnostics import Redundancy
    from tessera.datasets.samples import LabelledImage
    from tessera.loop.advice import Advice, Judgement, Regime

ARCHITECTURE = "deeplabv3plus_mobilenetv2"
SIDE = 480
"""Images are shrunk to this many pixels on their longer side, as when the thresholds were measured."""
SETTINGS = ("2-2", "10-10")
"""The study's low and high budget, shown when none is given."""


class AdviseParams(Params):
    """Parameters of the measurement of a pool."""

    split: str = "train"
    layout: str | None = None
    pretrained: str = "imagenet"
    """Backbone weights: imagenet, street, or a file."""
    width: float | None = Field(default=None, gt=0, le=4)
    """Width of the backbone in the file; 0.35 for street and 1 for all else."""
    images: int = Field(default=3000, ge=2, le=8192)
    """Of a larger pool, this many images are read, in runs of successive ones."""
    run: int = Field(default=64, ge=1, le=8192)
    domain: Domain = "unknown"


def advise(folder: Path, budget: str | None, settings: Iterable[str]) -> tuple[list[str], dict[str, Any]]:
    """Measure the pool of ``folder`` and look up the advice; the lines to print, and the same as JSON values.

    ``settings`` are `AdviseParams`, and ``source.KEY=VALUE`` for the layout of the folder.

    BadInput: no such data set or split, fewer than two images, unreadable images, missing weights, a bad budget.
    """
    from tessera.cli.recipes import overrides
    from tessera.loop import advice

    given = dict(overrides(settings))
    of_source = {key.removeprefix("source."): given.pop(key) for key in list(given) if key.startswith("source.")}
    params = _params(given)
    budgets = [(text, advice.budget(text)) for text in ([budget] if budget else SETTINGS)]
    samples = _samples(folder, params, of_source)
    looked = runs(samples, params.images, params.run)
    measured = _measure(looked, params)
    scale = advice.calibration(params.pretrained)
    judgement = advice.judge(measured, scale)
    cases = []
    for text, one in budgets:
        level = advice.regime(one, len(samples))
        cases.append((text, level, advice.advise(judgement, level, params.domain)))
    found = {
        "data": str(folder),
        "split": params.split,
        "images": len(samples),
        "looked_at": len(looked),
        "backbone": dataclasses.asdict(scale),
        "measured": dataclasses.asdict(measured),
        "redundant": judgement.redundant,
        "confidence": judgement.confidence,
        "budgets": {
            text: {"regime": dataclasses.asdict(level), "advice": dataclasses.asdict(given)}
            for text, level, given in cases
        },
    }
    return [*_head(folder, params, samples, looked, judgement), *_cases(cases)], json.loads(json.dumps(found))


def runs(samples: Sequence[LabelledImage], images: int, run: int) -> list[LabelledImage]:
    """Return at most ``images`` of the samples, as runs of ``run`` successive ones spread evenly over the data set.

    Runs, because single images drawn from a video would hide the similarity of its frames.
    """
    if len(samples) <= images:
        return list(samples)
    length = min(run, images)
    count = images // length
    free = len(samples) - count * length
    starts = [part * length + (part * free // (count - 1) if count > 1 else free // 2) for part in range(count)]
    return [samples[start + offset] for start in starts for offset in range(length)]


def _params(given: dict[str, Any]) -> AdviseParams:
    from pydantic import ValidationError

    from tessera.registry import validation_message

    try:
        return AdviseParams.model_validate(given)
    except ValidationError as error:
        raise BadInput(validation_message("--set", error, AdviseParams)) from None


def _samples(folder: Path, params: AdviseParams, of_source: dict[str, Any]) -> Sequence[LabelledImage]:
    from tessera.datasets.reader import read_dataset

    source = read_dataset(folder, params.layout, settings=of_source)
    if params.split not in source.splits:
        raise BadInput(f"{folder}: no split {params.split!r}; it has {', '.join(sorted(source.splits))}")
    found = source.splits[params.split]
    if len(found) < 2:
        raise BadInput(f"{folder}: {len(found)} images in {params.split}; redundancy needs at least 2")
    return found


def _measure(samples: Sequence[LabelledImage], params: AdviseParams) -> Redundancy:
    import numpy as np

    from tessera.acquisition.diagnostics import redundancy
    from tessera.cli import weights
    from tessera.datasets.contents import image_bytes
    from tessera.formats import checkpoints, images
    from tessera.loop import advice
    from tessera.models import build
    from tessera.models.predictor import Predictor
    from tessera.registry import canonical_json

    path = weights.find(params.pretrained, ARCHITECTURE, "pretrained")
    if path is None:
        raise BadInput("--set pretrained=random: advice needs a trained backbone; use imagenet, street or a file")
    width = params.width or (0.35 if params.pretrained == "street" else 1.0)
    network = build(ARCHITECTURE, canonical_json({"width": width}), 2)
    checkpoints.load_backbone(network, path.read_bytes(), str(path))
    predictor = Predictor(network)
    features = []
    with ProgressBar("describing images") as bar:
        for index, sample in enumerate(samples):
            rgb = shrink(images.decode_rgb(image_bytes(sample), str(sample.image_path)))
            features.append(predictor.features(rgb).mean(axis=(1, 2)))
            bar.update(index + 1, len(samples), sample.image_id)
    return redundancy(
        np.stack(features),
        [sample.image_id for sample in samples],
        [sample.sequence for sample in samples],
        [sample.time for sample in samples],
        advice.calibration(params.pretrained).radius,
    )


def shrink(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink so that the longer side has ``SIDE`` pixels; smaller images are unchanged."""
    import cv2
    import numpy as np

    height, width = rgb.shape[:2]
    scale = SIDE / max(height, width)
    if scale >= 1:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _head(
    folder: Path,
    params: AdviseParams,
    samples: Sequence[LabelledImage],
    looked: Sequence[LabelledImage],
    judgement: Judgement,
) -> list[str]:
    part = "" if len(looked) == len(samples) else f", {len(looked):,} of them measured in runs of {params.run}"
    kind = "redundant" if judgement.redundant else "diverse"
    return [
        f"{folder}: {len(samples):,} images in {params.split}{part}; features of the {params.pretrained} backbone",
        f"The pool is {kind} (confidence: {judgement.confidence}).",
        *[f"  - {line}" for line in judgement.evidence],
    ]


def _cases(cases: Sequence[tuple[str, Regime, Advice]]) -> list[str]:
    import yaml

    lines = []
    for text, level, given in cases:
        snippet = yaml.safe_dump(given.recipe, default_flow_style=None, sort_keys=False, width=100).rstrip()
        lines += [
            "",
            f"Budget {text}: {level.level}. Advice: {given.choice} (confidence: {given.confidence}).",
            f"  {given.what}",
            f"  rule: {given.rule}",
            f"  with semi-supervised training: {given.semi_supervised}",
            f"  budget: {level.evidence}",
            *[f"  but: {caveat}" for caveat in given.caveats],
            "  in a recipe:",
            *[f"    {line}" for line in snippet.splitlines()],
        ]
    return [*lines, "", "This is advice only: it changes no recipe."]
