"""Two processes that share every batch train what one trains on whole batches, to rounding."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from memory_blobs import served
from tessera import training
from tessera.errors import BadInput
from tessera.formats import images, manifests, schemas, tables, weights
from tessera.formats.manifests import LabelManifest
from tessera.models.dropout import Dropout
from tessera.models.wideresnet import NormAct
from tessera.training.distributed import Processes, SharedBatchNorm, share_layers
from tessera.training.streams import batches
from unit.training.test_seam import SIZE, SLIM, World

train = served("trainer").train
pytestmark = pytest.mark.usefixtures("one_thread")


ALL = [(image, region, [region]) for image in range(4) for region in range(2)]
# In some steps all regions of several classes are one process's; region 1 of the last image is reached by expansion.
PARTIAL = [*ALL[:4], (2, 0, [0, 1]), (2, 1, [1]), (3, 0, [0, 1])]


class OnDisk(World):
    """Other processes read the same objects from files. Four answered images, each of another brightness.

    Batch norm divides by how much the images differ: where they hardly do, it makes rounding large.
    """

    def __init__(self, folder, answered=ALL):
        super().__init__()
        self._folder = folder
        rng = np.random.default_rng(1)
        items = []
        for index, item in enumerate(self.dataset.split("train")):
            rgb = rng.integers(0, 60, (SIZE, SIZE, 3)) + 45 * index + 40 * self.truth[..., None]
            image = self.write(images.encode_png(rgb.clip(0, 255).astype(np.uint8)), "image/png")
            items.append(replace(item, image=image))
        held_out = tuple(replace(one, image_id=f"held{index}") for index, one in enumerate(items[:3]))
        self.dataset = replace(self.dataset, splits={"train": tuple(items), "val": held_out})
        self.manifest = self.write(manifests.dataset_to_json(self.dataset))
        self.ledger = self.answers([(f"im{one}", region, classes) for one, region, classes in answered])

    def local(self):
        for digest, data in self.objects.items():
            (self._folder / digest).write_bytes(data)
        return {digest: str(self._folder / digest) for digest in self.objects}


# sgd, because adam divides by the root of squared gradients: where those are rounding, so are its steps.
CURVE = {"epochs": 4, "batch": 4, "frozen": True, "optimiser": "sgd", "lr": 1e-2, "augment": {"flip": True}}
# Of a random network's backbone batch norm makes much of rounding, so that a curve would soon be another one.
STEP = {**CURVE, "epochs": 1, "frozen": False, "augment": {"flip": True, "scale": [0.75, 1.5], "crop": [32, 32]}}
JUDGED = {"warm_up": 0.0, "threshold": 0.5, "most_accepted": 1.0}
BANK = {"per_image": 4, "images": 4}
CASES = {
    "curve of the head": ("supervised", CURVE, ALL, {}),
    "step of the whole": ("supervised", STEP, ALL, {}),
    "head of the best epoch": ("supervised", {**CURVE, "epochs": 3}, ALL, {}),
    "s4gan": ("s4gan", {**CURVE, **JUDGED, "epochs": 3, "lr": 5e-3, "backbone_norm": "eval"}, ALL, {}),
    "mal": ("mal", {**CURVE, "batch": 2}, ALL[:4], {"temperature": 0.05, "unit_prototypes": False}),
    "contrastive": ("contrastive", {**CURVE, "memory_bank": BANK, "negatives": 16}, ALL, {"projection_head": 16}),
    "mulactseg": ("mulactseg", {**CURVE, "epochs": 3, "lr": 1e-3, "pseudo": {}}, PARTIAL, {"temperature": 0.1}),
}
PARTS = {
    "s4gan": {"cross_entropy", "feature_matching", "self_training", "discriminator"},
    "mal": {"cross_entropy", "negative_entropy", "discriminator"},
    "contrastive": {"cross_entropy", "info_nce"},
    "mulactseg": {"cross_entropy", "merged_positive", "prototypical_pixel"},
}
"""Losses without which a case shows little."""
# One of them runs always; each starts a process, which takes seconds.
ALWAYS = ("step of the whole", "mulactseg")


def far(one, two):
    """By name the largest distance of arrays that differ by more than rounding."""
    gaps = {name: np.abs(value - two[name]) - 1e-2 * np.abs(two[name]) for name, value in one.items()}
    return {name: float(gap.max()) for name, gap in gaps.items() if gap.size and gap.max() > 1e-3}


@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=[] if name in ALWAYS else pytest.mark.full) for name in CASES]
)
async def test_two_processes_train_as_one_with_the_same_batches(tmp_path, monkeypatch, case):
    """Loss parts, weights and artefacts are equal but for rounding, dropout included.

    Where a process took its own part's mean, statistics, masks or bank, the first epoch would already be another.
    """
    name, changes, answered, model = CASES[case]
    found = []
    for processes in ("1", "2"):
        folder = tmp_path / processes
        folder.mkdir()
        monkeypatch.setenv("TESSERA_TRAINING_PROCESSES", processes)
        monkeypatch.setenv("TESSERA_SCRATCH_DIR", str(folder))
        world = OnDisk(folder, answered)
        request = world.request(name, **changes)
        request.architecture.parameters = json.dumps({**json.loads(SLIM.parameters), **model})
        if "best" in case:
            truth = {
                item.image_id: world.write(images.encode_png(world.truth), "image/png")
                for item in world.dataset.split("val")
            }
            request.val_labels.CopyFrom(world.write(manifests.labels_to_json(LabelManifest("val", truth))))
            request.checkpoint_policy = "best_val"
        response = await train(request, world)
        history = tables.read(schemas.HISTORY, world.objects[response.history.sha256], "history")
        losses = tables.read(schemas.LOSSES, world.objects[response.losses.sha256], "losses")
        state = {}
        for role in ("model", "reported", "features"):
            if response.HasField(role):
                loaded = weights.load(world.objects[getattr(response, role).weights.sha256], role)
                state |= {f"{role} {key}": value for key, value in loaded.items()}
        extras = {key: world.objects[ref.sha256] for key, ref in response.extras.items()}
        found.append((history, losses, state, extras, world.notes))
        assert not list(folder.glob("tessera-parted-*"))
    (alone, parts, one, left, _), (parted, others, two, right, notes) = found
    assert list(parts["part"]) == list(others["part"])
    assert PARTS.get(name, set()) <= set(parts["part"])
    assert np.allclose(parts["value"][parts["epoch"] == 1], others["value"][parts["epoch"] == 1], rtol=1e-3, atol=1e-5)
    assert np.allclose(parts["value"], others["value"], rtol=1e-2, atol=1e-4)
    assert np.allclose(alone["val_miou"], parted["val_miou"], atol=0.02, equal_nan=True)
    assert len(alone["loss"]) == 1 or np.ptp(alone["loss"]) > 0.02 * alone["loss"][0]  # it does move
    assert set(one) == set(two)
    assert not far(one, two)
    assert set(left) == set(right)
    for key in left.keys() & {"discriminator", "memory_bank"}:
        mine, theirs = weights.load(left[key], key), weights.load(right[key], key)
        assert not far(mine, theirs)
    if "pseudo_labels" in left:
        planes = [
            tables.read(schemas.PLANES, data, "planes") for data in (left["pseudo_labels"], right["pseudo_labels"])
        ]
        assert list(planes[0]["sha256"]) == list(planes[1]["sha256"])
    assert f"epoch {changes['epochs']}" in notes[-1][1]


@pytest.mark.parametrize("size", [2, 3])
def test_dropout_of_a_part_is_that_part_of_the_whole_batch(size, monkeypatch):
    """Rows that one process draws for all are those that torch draws for the whole batch, on each side of a cut."""
    whole = torch.rand(5, 3, 2, 4)
    for kind, layout in ((Dropout, torch.channels_last), (Dropout, torch.contiguous_format), (nn.Dropout2d, None)):
        batch = whole.contiguous(memory_format=layout) if layout else whole
        torch.manual_seed(4)
        expected = kind(0.3)(batch)
        after = torch.rand(1)
        for rank in range(size):
            group = Processes(rank, size)
            part = group.part(5)
            counts = [float(len(range(5)[Processes(other, size).part(5)])) for other in range(size)]
            monkeypatch.setattr(group, "sums", lambda given, counts=counts: counts)
            layer = nn.Sequential(kind(0.3))
            share_layers(layer, group)
            torch.manual_seed(4)
            assert torch.equal(layer(batch[part]), expected[part])
            assert torch.equal(torch.rand(1), after)  # all processes go on with the same numbers
            assert torch.equal(layer.eval()(batch[part]), batch[part])


def test_every_batch_norm_is_shared_whatever_its_class():
    made = nn.Sequential(nn.BatchNorm2d(3), NormAct(3))
    before = [type(one) for one in made]
    share_layers(made, Processes(0, 2))
    assert all(
        isinstance(one, SharedBatchNorm) and isinstance(one, kind) for one, kind in zip(made, before, strict=True)
    )
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(made[1].eval()(x), NormAct(3).eval()(x))  # its activation stays


async def test_methods_that_cannot_be_parted_train_in_one_process_and_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("TESSERA_TRAINING_PROCESSES", "2")
    world = OnDisk(tmp_path)
    await train(world.request("supervised", **CURVE | {"epochs": 1}, decode="labelled"), world)
    assert any("supervised trains in one process" in note for _, note in world.notes)


@pytest.mark.parametrize("method", training.METHODS.names())
def test_every_method_can_be_parted_but_for_what_computes_some_cells_alone(method):
    assert training.can_be_parted(method, training.parameters(method, "{}"))
    if "labelled" in str(training.METHODS.entry(method).params.model_fields["decode"].annotation):
        params = {"decode": "labelled", "view": "images"}
        with pytest.raises(BadInput, match=rf"training {method}: its steps cannot be parted"):
            training.train(method, json.dumps(params), None, (), 0, 3, group=Processes(0, 2))


def test_the_smallest_batch_of_a_method_bounds_its_processes():
    rows = {"{}": 8, '{"unlabelled_batch": 3}': 3, '{"unlabelled_batch": 20}': 8}
    assert {given: training.parameters("mal", given).shared_rows() for given in rows} == rows


def test_every_row_of_a_batch_is_one_processs():
    for count in range(2, 12):
        for size in range(1, count + 1):
            rows = [row for rank in range(size) for row in range(count)[Processes(rank, size).part(count)]]
            assert rows == list(range(count))
            parts = [len(range(count)[Processes(rank, size).part(count)]) for rank in range(size)]
            assert max(parts) - min(parts) <= 1
    sizes = [len(one) for one in batches(10, 4, np.random.default_rng(0), least=4)]
    assert sizes == [4, 6]
