"""``tessera data`` for every layout and pool: from a folder to the store, and the messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dataset_trees import image, mask
from tessera.cli.main import app


def _voc(folder: Path) -> None:
    lists = folder / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for split, names in {"train": ["2007_1"], "val": ["2007_2", "2007_3"]}.items():
        for name in names:
            image(folder / f"JPEGImages/{name}.jpg")
            mask(folder / f"SegmentationClass/{name}.png", [0, 20, 255])
        (lists / f"{split}.txt").write_text("\n".join(names))


@pytest.mark.parametrize("layout", ["auto", "voc"])
def test_import_with_settings(tmp_path: Path, layout: str) -> None:
    _voc(tmp_path / "voc")
    store = f"file://{tmp_path / 'store'}"
    result = CliRunner().invoke(
        app, ["data", "import", layout, str(tmp_path / "voc"), "--store", store, "--set", "test=half"]
    )
    assert result.exit_code == 0, result.output
    first, second = [line for line in result.stdout.splitlines() if line][-2:]
    assert "1 train, 1 val, 1 test, 21 classes" in first
    assert json.loads(second)["store"] == store


def test_pool_of_any_layout(tmp_path: Path) -> None:
    _voc(tmp_path / "voc")
    words = ["data", "pool", "augmented", str(tmp_path / "voc"), str(tmp_path / "pool"), "--seed", "3"]
    result = CliRunner().invoke(app, [*words, "--set", "duplicates=2", "--set", "source.test=half"])
    assert result.exit_code == 0, result.output
    assert "layout native, 1 test, 3 train, 1 val, 21 classes" in result.stdout
    assert (tmp_path / "pool/images/train/2007_1.aug2.jpg").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pool", "augment", "voc", "pool"], "did you mean augmented"),
        (["pool", "augmented", "voc", "pool", "--set", "duplicate=2"], "did you mean duplicates"),
        (["pool", "augmented", "voc", "pool", "--set", "source.tests=half"], "did you mean test"),
        (["pool", "copy", "voc", "pool", "--layout", "vok"], "did you mean voc"),
        (["pool", "copy", "voc", "pool", "--seed", "-1"], "--seed -1"),
        (["import", "voc", "voc", "--set", "test=third"], "layout.voc.test"),
    ],
)
def test_mistakes_are_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str) -> None:
    _voc(tmp_path / "voc")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TESSERA_STORE", f"file://{tmp_path / 'store'}")
    result = CliRunner().invoke(app, ["data", *words])
    assert result.exit_code != 0
    assert said in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "pool").exists()
