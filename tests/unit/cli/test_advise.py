"""``tessera advise`` on small street scenes, with the backbone that comes with the project."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tessera.cli.advise import SIDE, runs, shrink
from tessera.cli.main import app
from tessera.datasets.samples import LabelledImage
from tessera.datasets.street.params import StreetParams
from tessera.datasets.street.write import make_street

STREET = ("--set", "pretrained=street")


def make(folder: Path, train: int, frames: int) -> Path:
    # The built-in size: the thresholds are for features at this scale.
    return make_street(folder, StreetParams(train=train, val=1, test=1, frames=frames), lambda *_: None)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("advise")
    return {"stills": make(root / "stills", 24, 1), "video": make(root / "video", 2, 16)}


def run(*words: str):
    made = CliRunner().invoke(app, ["advise", *words])
    return made.exit_code, made.stdout, made.stderr


@pytest.mark.parametrize(("name", "kind", "choice"), [("stills", "diverse", "single"), ("video", "redundant", "batch")])
def test_the_advice_follows_the_data(scenes, name, kind, choice):
    code, out, _ = run("--data", str(scenes[name]), "--budget", "10-10", *STREET)
    assert code == 0
    assert f"The pool is {kind}" in out
    assert f"Budget 10-10: high. Advice: {choice} " in out
    assert f"rule: Best Practices, Table 6: {kind} data, high budget: {choice}" in out
    assert "advice only" in out


def test_without_a_budget_both_of_the_study_are_shown_and_json_says_the_same(scenes):
    code, out, _ = run("--data", str(scenes["video"]), *STREET, "--json")
    assert code == 0
    found = json.loads(out)
    assert list(found["budgets"]) == ["2-2", "10-10"]
    assert found["redundant"] is True
    assert found["measured"]["images"] == found["images"] == 32
    assert found["measured"]["adjacent"] > found["measured"]["adjacent_by_chance"]
    assert found["budgets"]["2-2"]["advice"]["choice"] == "batch"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--budget", "ten"), "write INITIAL-STEP"),
        (("--set", "split=nope"), "no split 'nope'; it has test, train, val"),
        (("--set", "splt=val"), "did you mean split"),
        (("--set", "pretrained=random"), "advice needs a trained backbone"),
        (("--set", "pretrained=/nowhere.safetensors"), "not a file"),
        (("--set", "images=1"), "images"),
        (("--set", "source.nothing=1"), "nothing"),
    ],
)
def test_mistakes_exit_with_2_and_a_sentence(scenes, words, said):
    code, _, err = run("--data", str(scenes["stills"]), *STREET[: 0 if "pretrained" in words[1] else 2], *words)
    assert code == 2
    assert said in err


def test_no_data_set_and_a_broken_image(scenes, tmp_path):
    code, _, err = run("--data", str(tmp_path / "none"))
    assert (code, "no such folder" in err) == (2, True)
    broken = make(tmp_path / "broken", 3, 1)
    next((broken / "images" / "train").iterdir()).write_bytes(b"not an image")
    code, _, err = run("--data", str(broken), *STREET)
    assert code == 2
    assert "broken/images/train" in err


def sample(index: int) -> LabelledImage:
    return LabelledImage(f"im{index}", "train", Path("a"), Path("b"), "", 0.0)


@pytest.mark.parametrize(
    ("total", "images", "run_length"), [(10, 20, 4), (100, 20, 5), (101, 20, 64), (1000, 999, 64), (50, 7, 3)]
)
def test_a_large_pool_is_looked_at_in_runs(total, images, run_length):
    samples = [sample(index) for index in range(total)]
    looked = [int(one.image_id[2:]) for one in runs(samples, images, run_length)]
    assert looked == sorted(set(looked))
    assert min(total, images) - run_length < len(looked) <= min(total, images)
    steps = np.diff(looked)
    assert (steps > 1).sum() <= images // min(run_length, images)
    if total > images:
        spread_out = images // min(run_length, images) > 1
        assert not spread_out or (looked[0], looked[-1]) == (0, total - 1)


def test_images_are_brought_to_the_scale_of_the_thresholds():
    assert shrink(np.zeros((1024, 2048, 3), np.uint8)).shape == (SIDE // 2, SIDE, 3)
    assert shrink(np.zeros((360, 480, 3), np.uint8)).shape == (360, 480, 3)
