"""Minimax active learning on whole images through the real command line, on a small tree of CIFAR's binary files."""

import pyarrow.parquet as pq
import pytest
import yaml

from integration.loop import summary, tessera
from unit.datasets.test_classification_layouts import cifar10, cifar100

FULL = pytest.mark.full


def small(base):
    """A recipe of the project with a narrow network, one epoch and one round."""
    narrow = {"width": 0.125, "pretrained": "random"}
    return {
        "extends": base,
        "recipe": "small",
        "model": narrow | ({"hidden": 16} if base.endswith("_mal") else {}),
        "training": {"epochs": 1, "batch": 4},
        "budget": {"unit": "images", "initial": 6, "per_round": 3, "rounds": 1},
        "evaluate": ["test"],
        "runtime": {"shard_images": 16},
    }


@FULL
@pytest.mark.parametrize(
    "base",
    [
        "mal_cifar100_mal",
        "mal_cifar10_bald",
        "mal_cifar10_coreset",
        "mal_cifar100_vaal",
        "mal_cifar10_sl_div",
        "mal_cifar100_vgg16_mal",
    ],
)
def test_a_recipe_of_classification_runs(base, tmp_path):
    recipe, out, data = tmp_path / "small.yaml", tmp_path / "out", tmp_path / "data"
    if "cifar100" in base:
        cifar100(data, train=20)
    else:
        cifar10(data)  # 20 images of train, 2 of test, too
    recipe.write_text(yaml.safe_dump(small(base)))
    done = tessera("run", recipe, "--data", data, "--out", out, "--seed", 5)
    assert done.returncode == 0, done.stderr
    found = summary(out)
    assert [entry["regions_labelled"] for entry in found["rounds"]] == [6, 9]
    # One click an image.
    assert [entry["clicks"] for entry in found["rounds"]] == [6, 9]
    for entry in found["rounds"]:
        assert entry["test"]["accuracy"] in (0.0, 0.5, 1.0)
        assert "pixel_accuracy" not in entry["test"]
    assert "test accuracy" in done.stdout
    assert found["auc"]["test"] is not None
    assert pq.read_table(out / "selections" / "round_01.parquet").num_rows == 3
    answers = pq.read_table(out / "ledger.parquet").to_pylist()
    assert all(len(row["classes"]) == 1 and row["query"] == "dominant" for row in answers)
    assert "test accuracy" in (out / "report.html").read_text()
    again = tessera("compare", out)
    assert again.returncode == 0, again.stderr
    assert "test accuracy" in again.stdout
    if base.endswith("_mal"):
        assert "labeledness_mean" in found["rounds"][1]["notes"][0]
