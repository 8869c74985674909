"""s4GAN and minimax active learning through the real command line, from recipes of the project, on street scenes."""

import pyarrow.parquet as pq
import pytest
import yaml

from integration.loop import RECIPE, summary, tessera

FULL = pytest.mark.full


def small(base, epochs):
    """A recipe of the project on scenes of 64×96 pixels, with a narrow network and few epochs."""
    return {
        "extends": base,
        "recipe": "small",
        "dataset": RECIPE["dataset"],
        "model": {"width": 0.25, "pretrained": "random"},
        "training": {"epochs": epochs, "batch": 2},
        "budget": {"unit": "images", "initial": 2, "per_round": 1, "rounds": 1},
        "evaluate": ["val"],
    }


@pytest.mark.parametrize(
    ("base", "epochs"),
    [
        pytest.param("best_practices_camvid_random_ssl", 2, marks=pytest.mark.full),
        pytest.param("best_practices_camvid_coreset_ssl", 2, marks=FULL),
        pytest.param("best_practices_camvid_bald_ssl", 2, marks=FULL),
        pytest.param("best_practices_cityscapes_bald_ssl", 2, marks=FULL),
        pytest.param("best_practices_pool11f_coreset_ssl", 2, marks=FULL),
        pytest.param("best_practices_voc_low_entropy_ssl", 2, marks=FULL),
        pytest.param("best_practices_a2d2_3k_uniform_entropy", 2, marks=FULL),
        ("mal_camvid_mal", 1),
        pytest.param("mal_cityscapes_mal", 1, marks=FULL),
        pytest.param("mal_bdd100k_ssl_div", 1, marks=FULL),
        pytest.param("mal_bdd100k_sl_unc", 1, marks=FULL),
        pytest.param("mal_cityscapes_bald", 1, marks=FULL),
        pytest.param("mal_cityscapes_coreset", 1, marks=FULL),
    ],
)
def test_a_recipe_runs(base, epochs, tmp_path):
    recipe, out = tmp_path / "small.yaml", tmp_path / "out"
    recipe.write_text(yaml.safe_dump(small(base, epochs)))
    done = tessera("run", recipe, "--out", out, "--seed", 5)
    assert done.returncode == 0, done.stderr
    rounds = summary(out)["rounds"]
    assert [entry["regions_labelled"] for entry in rounds] == [2, 3]
    assert all(0 <= entry["val"]["miou"] <= 1 for entry in rounds)
    assert pq.read_table(out / "selections" / "round_01.parquet").num_rows == 1
    if base.endswith("_mal"):
        assert "labeledness_mean" in rounds[1]["notes"][0]
