"""Train the small backbone that the street recipes start from: shared/tessera/datasets/street/backbone.safetensors.

It replaces the ImageNet weights of real images. It learns five coarse classes (ground, structure, nature, sky, object),
on scenes of a seed that no recipe uses, so that it does not know the classes that a run on street scenes has to find
(signs, poles, pedestrians, cyclists, …). Takes five minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

import numpy as np

from tessera import models, training
from tessera.datasets.street.params import StreetParams
from tessera.datasets.street.render import render_sequence
from tessera.formats import weights
from tessera.registry import canonical_json

OUTPUT = Path(__file__).resolve().parent.parent / "shared/tessera/datasets/street/backbone.safetensors"
WIDTH = 0.35
SCENES = StreetParams(height=144, width=192, train=120, frames=40, seed=7919)
EVERY = 8  # successive frames are similar; one in eight is as good and faster
# road, sidewalk | sky | vegetation | building, fence, pole | sign, car, pedestrian, cyclist
COARSE = {0: 0, 1: 0, 3: 3, 4: 2, 2: 1, 5: 1, 6: 1, 7: 4, 8: 4, 9: 4, 10: 4}
TRAINING = {
    "frozen": False,
    "backbone_norm": "train",
    "epochs": 12,
    "final_epochs": None,
    "view": "images",
    "lr": 2e-3,
    "batch": 8,
    "augment": {"flip": True},
    "schedule": {"name": "poly"},
}


def samples() -> list[training.Sample]:
    """Return frames with coarse labels."""
    table = np.full(256, 255, np.uint8)
    table[list(COARSE)] = list(COARSE.values())
    return [
        training.Sample(frame.rgb, table[frame.labels])
        for number in range(SCENES.train)
        for frame in islice(render_sequence(SCENES, "train", number), 0, None, EVERY)
    ]


def main() -> None:
    """Train and write the backbone, convolutions as float16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    output = parser.parse_args().output
    parameters = canonical_json({"width": WIDTH, "dropout": 0.1})
    network = models.build("deeplabv3plus_mobilenetv2", parameters, 1 + max(COARSE.values()), seed=0)
    trained = training.train(
        "supervised", canonical_json(TRAINING), network, samples(), 0, 1 + max(COARSE.values()),
        progress=lambda _, note: print(note, file=sys.stderr),
    )  # fmt: skip
    kept = {name.removeprefix("backbone."): t for name, t in trained.state.items() if name.startswith("backbone.")}
    half = {n: t.astype(np.float16) if t.dtype == np.float32 and "running" not in n else t for n, t in kept.items()}
    output.write_bytes(weights.save(half))
    print(f"{output}: {output.stat().st_size / 1024:.0f} KiB, {len(half)} tensors")


if __name__ == "__main__":
    main()
