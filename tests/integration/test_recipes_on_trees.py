"""Every recipe that segments goes a few steps on a small tree of its data set's own layout: one of each kind.

A kind is a data set, a training method and a query; others of a kind differ in how they select, and are planned to
their end in unit/loop/test_recipe_plans.py. The jobs of the plan are answered by the services' own functions, in this
process, without messages: small networks, images of 48 pixels, one epoch, one round after the first.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from dataset_trees import TREES
from memory_blobs import MemoryBlobs
from tessera.formats import schemas, tables
from tessera.loop import plan
from tessera.loop.view import view
from tessera.pb import runs_pb2 as runs
from tessera.runtime.catalogue import methods
from tessera.runtime.importing import import_dataset
from tessera.runtime.objects import open_store, sha256
from tessera.runtime.settings import load as settings
from unit.loop.simulator import NAMES, load, walk

ENLARGED = 12
LAYOUTS = {"a2d2-frames": "a2d2", "a2d2-augmented": "a2d2"}
"""Pools are made from a data set and keep its labels."""
SMALL = {
    "model__pretrained": "random",
    "model__width": 0.125,
    "training__epochs": 1,
    "training__final_epochs": None,
    "training__batch": 2,
    "budget__rounds": 1,
    "evaluate": ["val"],
    "runtime__shard_images": 2,
}
BUDGETS = {
    "images": {"budget__initial": 1, "budget__per_round": 1},
    "regions": {"budget__initial": 6, "budget__per_round": 4},
    "clicks": {"budget__initial": 20, "budget__per_round": 10},
    "percent": {"budget__initial": 50.0, "budget__per_round": 25.0},
}


def kinds():
    """The first recipe of each kind, of the smallest network there is; and what one paper alone does on a data set.

    Street scenes and CamVid are run elsewhere, and recipes that classify whole images in test_classification.py.
    """
    found = {}
    for name in NAMES:
        recipe = load(name)
        elsewhere = recipe.dataset.name in ("street", "camvid") or recipe.dataset.name.startswith("cifar")
        if not elsewhere and not name.endswith("_r101"):
            found.setdefault((recipe.dataset.name, recipe.training.name, recipe.query.name), name)
    alone = ("mulact_cityscapes_multi_margin", "mulact_cityscapes_multi_knn", "mulact_voc_supervised")
    return [*found.values(), *alone, "meal_cityscapes_meal_frozen", "meal_cityscapes_320_meal_ft_finetuned"]


def small(name):
    """A recipe of the project, with what makes it small."""
    recipe = load(name)
    changes = dict(SMALL) | BUDGETS[recipe.budget.unit]
    if recipe.budget.rounds == 0:  # every label at once
        changes |= {"budget__initial": None, "budget__rounds": 0}
    if recipe.training.model_dump()["augment"].get("crop") is not None:
        changes["training__augment__crop"] = [48, 64]
    if recipe.partition.name in ("seeds", "slic"):
        changes["partition"] = {"name": recipe.partition.name, "size": 16}
    if recipe.selection.initial[0].name == "random_images":
        changes["selection__initial"] = [{"name": "random_images", "images": 1}]
    return load(name, **changes)


def enlarge(folder):
    """Make every image and label map of a tree larger: each pixel becomes a square."""
    for path in [*folder.rglob("*.png"), *folder.rglob("*.jpg")]:
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        pixels = pixels.repeat(ENLARGED, 0).repeat(ENLARGED, 1)
        if "annot" not in str(path) and pixels.ndim == 3 and len(np.unique(pixels)) == 1:
            rng = np.random.default_rng(len(str(path)))
            pixels = rng.integers(0, 256, pixels.shape, dtype=np.uint8)  # trees hold images of one gray
        cv2.imwrite(str(path), pixels)


def more(layout, folder):
    """Add training images where the tree of a layout has fewer than a run needs."""
    if layout == "bdd100k":
        for kind, suffix in (("images/10k", ".jpg"), ("labels/sem_seg/masks", ".png")):
            of = folder / kind / "train"
            for letter in "bcd":
                shutil.copy(of / f"0a0a0b1a-7c39d841{suffix}", of / f"0a0a0b1a-7c39d84{letter}{suffix}")
    if layout == "cityscapes":
        for kind, ends in (("leftImg8bit", ["leftImg8bit.png"]), ("gtFine", ["gtFine_labelIds.png"])):
            of = folder / kind / "train" / "hamburg"
            for end in ends:
                for number in (3, 4):
                    shutil.copy(of / f"hamburg_000000_106102_{end}", of / f"hamburg_000000_10610{number}_{end}")


class Services:
    """Answers every job by the function of its service, on objects in memory."""

    def __init__(self, blobs):
        self.blobs = blobs

    def answer(self, job):
        _, method = methods()[job.method]
        return asyncio.run(self.blobs.perform(method, job.request))


def imported(layout, folder):
    """A tree of the layout in a store in memory, and the data set as the coordinator knows it."""
    TREES[layout](folder / "set")
    more(layout, folder / "set")
    enlarge(folder / "set")
    url = (folder / "store").as_uri()
    store = open_store(url, settings(store=url))
    message, manifest = asyncio.run(import_dataset(store, folder / "set"))
    blobs = MemoryBlobs()
    for path in (folder / "store").rglob("*"):
        if path.is_file():
            blobs.objects[sha256(path.read_bytes())] = path.read_bytes()
    return blobs, message, manifest


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "name",
    [name if name == "mulact_voc_multi_bvsb" else pytest.param(name, marks=pytest.mark.full) for name in kinds()],
)
def test_a_recipe_goes_a_few_steps_on_its_own_layout(name, tmp_path: Path):
    recipe = small(name)
    blobs, message, manifest = imported(LAYOUTS.get(recipe.dataset.name, recipe.dataset.name), tmp_path)
    spec = runs.RunSpec(run_id=name, recipe=recipe.canonical(), seed=5, dataset=message, dataset_name=manifest.name)
    spec.shard_images = recipe.runtime.shard_images
    for split, items in manifest.splits.items():
        spec.split_sizes[split] = len(items)
    spec.class_names.extend(info.name for info in manifest.classes)
    services = Services(blobs)
    walked = walk(spec, services)
    assert isinstance(walked.end, plan.Finish), walked.end
    made = view(walked.state)
    assert [one.complete for one in made.rounds] == [True] * (recipe.budget.rounds + 1)
    assert all(one.splits[0].images for one in made.rounds)
    for one in made.rounds:
        losses = tables.read(schemas.LOSSES, blobs.objects[one.losses.sha256], "losses")
        assert len(losses["value"]) > 0
        assert np.isfinite(losses["value"]).all()
