"""Contrastive training through the real command line, and proof that labels outside the answers teach it nothing."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from integration.loop import RECIPE, labelled, selections, summary, tessera, write_recipe
from tessera.cli import extending
from tessera.pb.trainer_pb2 import TrainResponse

SHIPPED = extending.whole(Path(extending.shipped("superpixel_contrast_camvid_frozen_kmeans_umap")))
"""The recipe as it is shipped; its data, network and budget are made small."""

SMALL = {
    **{key: SHIPPED[key] for key in ("query", "oracle", "score")},
    "model": {**RECIPE["model"], "projection_head": 16},
    "partition": {"name": "seeds", "count": 24},
    "selection": {
        "initial": [{"name": "random", "count": 24}],
        "embedding": {
            **SHIPPED["selection"]["embedding"],
            "projection": {"name": "pca", "dimensions": 3},  # UMAP compiles for longer than all else takes
        },
        "stages": SHIPPED["selection"]["stages"],
    },
    "training": {**SHIPPED["training"], "epochs": 3, "final_epochs": None, "batch": 2},
    "budget": {"unit": "regions", "per_round": 6, "rounds": 1},
    "evaluate": ["val"],
}


@pytest.mark.full
def test_a_shipped_recipe_chooses_in_the_space_of_its_teacher(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = tessera("run", write_recipe(tmp_path, **SMALL), "--out", out, "--seed", 5)
    assert done.returncode == 0, done.stderr
    rounds = summary(out)["rounds"]
    assert [entry["regions_labelled"] for entry in rounds] == [24, 30]
    assert all(0 <= entry["val"]["miou"] <= 1 for entry in rounds)
    assert rounds[1]["timings"]["embed"] > 0


def _left(out: Path) -> list[tuple[str, ...]]:
    """Hashes of the networks and the bank of every round's training."""
    records = [json.loads(path.read_bytes()) for path in out.rglob("jobs/Train/*.json")]
    made = [TrainResponse.FromString(base64.b64decode(one["response"])) for one in records]
    return sorted(
        (one.model.weights.sha256, one.features.weights.sha256, one.extras["memory_bank"].sha256) for one in made
    )


@pytest.mark.full
def test_labels_that_nobody_asked_for_change_no_weight(tmp_path: Path) -> None:
    height, width, cells = 64, 96, 4
    folder, noisy = tmp_path / "scenes", tmp_path / "noisy"
    scenes = {"height": height, "width": width, "train": 2, "val": 1, "test": 1, "frames": 3}
    sets = [each for name, value in scenes.items() for each in ("--set", f"{name}={value}")]
    assert tessera("data", "make", "street", folder, "--seed", 3, *sets).returncode == 0
    grid = {"partition": {"name": "grid", "rows": cells, "cols": cells}, "dataset": {"name": "native"}}
    recipe = write_recipe(tmp_path, **{**SMALL, **grid})
    for data, out in ((folder, "whole"), (noisy, "unasked")):
        if data is noisy:
            asked = set(labelled(tmp_path / "whole"))
            shutil.copytree(folder, noisy)
            rng = np.random.default_rng(0)
            for path in sorted((noisy / "labels" / "train").glob("*.png")):
                truth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
                for region in range(cells * cells):
                    if (path.stem, region) not in asked:
                        row, column = divmod(region, cells)
                        place = np.s_[
                            row * height // cells : (row + 1) * height // cells,
                            column * width // cells : (column + 1) * width // cells,
                        ]
                        truth[place] = rng.integers(0, 11, truth[place].shape)
                cv2.imwrite(str(path), truth)
        done = tessera("run", recipe, "--data", data, "--out", tmp_path / out, "--seed", 5)
        assert done.returncode == 0, done.stderr
    assert selections(tmp_path / "unasked") == selections(tmp_path / "whole")
    assert _left(tmp_path / "unasked") == _left(tmp_path / "whole")
    assert len(_left(tmp_path / "whole")) == 2
