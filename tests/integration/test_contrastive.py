"""Contrastive training through the real command line, and proof that labels nobody asked for teach it nothing."""

from __future__ import annotations

from pathlib import Path

from integration.loop import RECIPE, summary, tessera, write_recipe
from tessera.cli import extending

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


def test_a_shipped_recipe_chooses_in_the_space_of_its_teacher(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = tessera("run", write_recipe(tmp_path, **SMALL), "--out", out, "--seed", 5)
    assert done.returncode == 0, done.stderr
    rounds = summary(out)["rounds"]
    assert [entry["regions_labelled"] for entry in rounds] == [24, 30]
    assert all(0 <= entry["val"]["miou"] <= 1 for entry in rounds)
    assert rounds[1]["timings"]["embed"] > 0
