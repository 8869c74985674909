"""Runs whose embedding spaces are the head's: fitted each round on the pool, and on the memory bank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from integration.loop import RECIPE, labelled, selections, summary, tessera, write_recipe

SELECTION = {key: value for key, value in RECIPE["selection"].items() if key != "shortlist"}
PCA = {"name": "pca", "dimensions": 3}

ONE_ROUND = {"budget": {"unit": "regions", "per_round": 8, "rounds": 1}}

SPACES: dict[str, dict[str, Any]] = {
    "core_set": {
        **ONE_ROUND,
        "selection": {
            **SELECTION,
            "embedding": {"features": {"name": "aspp", "grid": [2, 2]}, "projection": PCA, "fit_on": "pool"},
            "stages": [{"name": "k_center"}],
        },
    },
    "bank": {
        **ONE_ROUND,
        "selection": {
            **SELECTION,
            "shortlist": RECIPE["selection"]["shortlist"],
            "embedding": {"features": {"name": "decoder"}, "projection": PCA, "fit_on": "bank"},
            "stages": [{"name": "kmeans_plusplus"}],
        },
        "training": {**RECIPE["training"], "epochs": 4, "memory_bank": {"tap": "decoder"}},
    },
}


def run(space: str, out: Path, *arguments: object) -> Path:
    """Run one of the spaces."""
    done = tessera("run", write_recipe(out.parent, **SPACES[space]), "--out", out, "--seed", 5, *arguments)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.full
@pytest.mark.parametrize("space", list(SPACES))
def test_a_run_chooses_in_the_space(space, tmp_path: Path):
    out = run(space, tmp_path / "out")
    found = summary(out)
    assert [entry["regions_labelled"] for entry in found["rounds"]] == [16, 24]
    assert all(entry["timings"]["embed"] > 0 for entry in found["rounds"][1:])
    assert len(set(labelled(out))) == 24


@pytest.mark.full
def test_other_shards_and_other_jobs_make_the_same_bank_and_the_same_choice(tmp_path: Path):
    again = run("bank", tmp_path / "again", "--set", "runtime.shard_images=3")
    assert selections(again) == selections(run("bank", tmp_path / "out"))
