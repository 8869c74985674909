"""A training that is killed in the middle goes on and ends in the same weights, bit for bit: real processes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from integration.loop import RECIPE, compute_children, member, start, until, write_recipe
from tessera.cli import extending
from tessera.formats import training_state
from tessera.training import METHODS, parameters

BASE = {
    # Fine-tuned, so that backbone, optimiser and teacher all move.
    "training": {"frozen": False, "backbone_norm": "train", "epochs": 12, "batch": 2, "augment": {"flip": True}},
    "selection": {"initial": [{"name": "random_images", "images": 4}]},
    "score": [],
    "budget": {"unit": "regions", "rounds": 0},
    "evaluate": ["val"],
}
SHIPPED = extending.whole(Path(extending.shipped("superpixel_contrast_camvid_frozen_kmeans_umap")))["training"]
OWN: dict[str, dict[str, Any]] = {
    "supervised": {"training": {"view": "images"}},
    "contrastive": {
        "training": {**SHIPPED, **BASE["training"], "final_epochs": None},
        "model": {"projection_head": 16},
    },
    # Guards such that every loss is there from the first step.
    "s4gan": {"training": {"warm_up": 0.0, "threshold": 0.2, "real_coverage": 0.0}},
    "mal": {"training": {}, "model": {"temperature": 0.05, "unit_prototypes": False}},
    # Both decoders: of whole images in the other methods, of labelled cells here.
    "mulactseg": {"training": {"decode": "labelled"}, "model": {"temperature": 0.1}, "query": {"name": "multi_class"}},
}


def trained(folder: Path, method: str, *, kill: str = "") -> tuple[dict[str, str], str]:
    """Return hashes of the training's results, and the log of its stack; ``kill``: the process to kill after a
    checkpoint, of the last phase where there are two."""
    own = OWN[method]
    training = {**BASE["training"], **own["training"], "name": method}
    changes = {**BASE, **own, "training": training, "model": {**RECIPE["model"], **own.get("model", {})}}
    recipe, out = write_recipe(folder, **changes), folder / "out"
    phases = parameters(method, {key: value for key, value in training.items() if key != "name"}).phases()
    process = start("run", recipe, "--out", out, "--seed", 5, log=folder / "log", TESSERA_CHECKPOINT_SECONDS="0")

    def reached() -> int:
        """The phase, from 0, of the newest checkpoint in the store; −1 where there is none."""
        with contextlib.suppress(StopIteration, FileNotFoundError):
            index = next(out.rglob("checkpoints/*/index.json"))
            newest = index.with_name(Path(json.loads(index.read_bytes())["kept"][0]["key"]).name)
            return training_state.load(newest.read_bytes(), newest.name).number
        return -1

    try:
        if kill:
            until(lambda: reached() == len(phases) - 1, 100, f"a checkpoint of phase {phases[-1]}")
            _kill(out, kill)
        assert process.wait(200) == 0, (folder / "log").read_text()[-3000:]
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(20)
    (record,) = (json.loads(path.read_bytes()) for path in out.rglob("jobs/Train/*.json"))
    assert not list(out.rglob("checkpoints/*/index.json"))
    logs = "".join(path.read_text(errors="replace") for path in (out / "stack").rglob("*.log"))
    return {"response": record["response"]}, logs


def _kill(out: Path, what: str) -> None:
    for child in list(compute_children(out)) if what == "child" else [member(out, "host")]:
        if child is None or not child.is_running():
            continue
        for one in [child, *child.children(recursive=True)] if what == "host" else [child]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


@pytest.mark.full
@pytest.mark.parametrize(
    ("method", "kill"), [*((name, "child") for name in METHODS.names()), ("contrastive", "host"), ("mulactseg", "host")]
)
def test_a_killed_training_ends_as_an_undisturbed_one(method: str, kill: str, tmp_path: Path) -> None:
    """Weights of every network, bank, discriminator and pseudo labels: the record names them all by their content."""
    whole, _ = trained(tmp_path / "whole", method)
    again, logs = trained(tmp_path / "again", method, kill=kill)
    assert "the job goes on from a checkpoint" in logs
    assert again == whole


def test_every_method_has_its_drill() -> None:
    assert set(OWN) == set(METHODS.names())
