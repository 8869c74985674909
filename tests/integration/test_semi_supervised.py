"""s4GAN through the real command line, from recipes of the project, on small street scenes."""

import json

import pyarrow.parquet as pq
import pytest
import yaml

from integration.loop import RECIPE, summary, tessera

FULL = pytest.mark.full


def small(base, **changes):
    """A recipe of the project on scenes of 64×96 pixels, with a narrow network and two epochs of small crops."""
    return {
        "extends": base,
        "recipe": "small",
        "dataset": RECIPE["dataset"],
        "model": {"width": 0.25, "pretrained": "random"},
        "training": {"epochs": 2, "batch": 2},
        "budget": {"unit": "images", "initial": 2, "per_round": 1, "rounds": 1},
        "evaluate": ["val"],
        **changes,
    }


@pytest.mark.parametrize(
    "base",
    [
        "best_practices_camvid_random_ssl",
        pytest.param("best_practices_camvid_coreset_ssl", marks=FULL),
        pytest.param("best_practices_camvid_bald_ssl", marks=FULL),
        pytest.param("best_practices_cityscapes_bald_ssl", marks=FULL),
        pytest.param("best_practices_pool11f_coreset_ssl", marks=FULL),
        pytest.param("best_practices_voc_low_entropy_ssl", marks=FULL),
        pytest.param("best_practices_a2d2_3k_uniform_entropy", marks=FULL),
    ],
)
def test_a_recipe_runs(base, tmp_path):
    recipe, out = tmp_path / "small.yaml", tmp_path / "out"
    recipe.write_text(yaml.safe_dump(small(base)))
    done = tessera("run", recipe, "--out", out, "--seed", 5)
    assert done.returncode == 0, done.stderr
    rounds = summary(out)["rounds"]
    assert [entry["regions_labelled"] for entry in rounds] == [2, 3]
    assert all(0 <= entry["val"]["miou"] <= 1 for entry in rounds)
    assert pq.read_table(out / "selections" / "round_01.parquet").num_rows == 1
    assert json.loads((out / "summary.json").read_text())["rounds"]
