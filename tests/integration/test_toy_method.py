"""A training method that one file adds, through the real command line: recipe, planner, trainer, evaluator, report."""

from pathlib import Path

import yaml

from integration.loop import RECIPE, summary, tessera, write_recipe

TOY = Path(__file__).parents[1] / "toy_method"


def test_a_method_in_one_file_runs(tmp_path):
    changes = {
        "training": {**RECIPE["training"], "name": "toy_mean_teacher", "reinitialise": "none"},
        "selection": {"initial": [{"name": "random_images", "images": 1}], "stages": [{"name": "random"}]},
        "budget": {"unit": "regions", "per_round": 8, "rounds": 1},
        "score": [],
        "evaluate": ["val"],
    }
    recipe, out = write_recipe(tmp_path, **changes), tmp_path / "out"
    done = tessera("run", recipe, "--out", out, "--seed", 5, PYTHONPATH=str(TOY))
    assert done.returncode == 0, done.stderr
    rounds = summary(out)["rounds"]
    assert [entry["regions_labelled"] for entry in rounds] == [16, 24]
    assert all(0 <= entry["val"]["miou"] <= 1 for entry in rounds)
    assert yaml.safe_load(recipe.read_text())["training"]["name"] == "toy_mean_teacher"
