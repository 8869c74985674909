"""A training that is killed in the middle goes on and ends in the same weights, bit for bit: real processes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import psutil
import pytest

from integration.loop import RECIPE, compute_children, member, start, until, write_recipe
from tessera.cli import extending

SHIPPED = extending.whole(Path(extending.shipped("superpixel_contrast_camvid_frozen_kmeans_umap")))["training"]
CHANGES = {
    # Fine-tuned, so that backbone, optimiser and teacher all move.
    "training": {**SHIPPED, "frozen": False, "backbone_norm": "train", "epochs": 12, "final_epochs": None, "batch": 2},
    "model": {**RECIPE["model"], "projection_head": 16},
    "selection": {"initial": [{"name": "random_images", "images": 4}]},
    "score": [],
    "budget": {"unit": "regions", "rounds": 0},
    "evaluate": ["val"],
}


def trained(folder: Path, *, kill: str = "") -> tuple[dict[str, str], str]:
    """Return hashes of the training's results, and the log of its stack; ``kill``: the process to kill after a
    checkpoint."""
    recipe, out = write_recipe(folder, **CHANGES), folder / "out"
    process = start("run", recipe, "--out", out, "--seed", 5, log=folder / "log", TESSERA_CHECKPOINT_SECONDS="0")
    try:
        if kill:
            until(lambda: list(out.rglob("checkpoints/*/index.json")), 100, "a checkpoint")
            for child in list(compute_children(out)) if kill == "child" else [member(out, "host")]:
                if child is not None and child.is_running():
                    with_children = [child, *child.children(recursive=True)] if kill == "host" else [child]
                    for one in with_children:
                        with contextlib.suppress(psutil.NoSuchProcess):
                            one.kill()
        assert process.wait(150) == 0, (folder / "log").read_text()[-3000:]
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(20)
    (record,) = (json.loads(path.read_bytes()) for path in out.rglob("jobs/Train/*.json"))
    assert not list(out.rglob("checkpoints/*/index.json"))
    logs = "".join(path.read_text(errors="replace") for path in (out / "stack").rglob("*.log"))
    return {"response": record["response"]}, logs


@pytest.mark.full
@pytest.mark.parametrize("kill", ["child", "host"])
def test_weights_bank_and_teacher_are_those_of_an_undisturbed_training(kill: str, tmp_path: Path) -> None:
    whole, _ = trained(tmp_path / "whole")
    again, logs = trained(tmp_path / "again", kill=kill)
    assert "the job goes on from a checkpoint" in logs
    assert again == whole
