"""Two processes that share every batch train what one trains on whole batches, to rounding; others are refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from memory_blobs import served
from tessera import training
from tessera.errors import BadInput
from tessera.formats import images, manifests, schemas, tables, weights
from tessera.training.distributed import Processes
from tessera.training.streams import batches
from unit.training.test_seam import SIZE, SLIM, World

train = served("trainer").train
pytestmark = pytest.mark.usefixtures("one_thread")


class OnDisk(World):
    """Other processes read the same objects from files. Four answered images, each of another brightness.

    Batch norm divides by how much the images differ: where they hardly do, it makes rounding large.
    """

    def __init__(self, folder):
        super().__init__()
        self._folder = folder
        rng = np.random.default_rng(1)
        items = []
        for index, item in enumerate(self.dataset.split("train")):
            rgb = rng.integers(0, 60, (SIZE, SIZE, 3)) + 45 * index + 40 * self.truth[..., None]
            image = self.write(images.encode_png(rgb.clip(0, 255).astype(np.uint8)), "image/png")
            items.append(replace(item, image=image))
        self.dataset = replace(self.dataset, splits={"train": tuple(items)})
        self.manifest = self.write(manifests.dataset_to_json(self.dataset))
        self.ledger = self.answers([(one.image_id, region, [region]) for one in items for region in (0, 1)])

    def local(self):
        for digest, data in self.objects.items():
            (self._folder / digest).write_bytes(data)
        return {digest: str(self._folder / digest) for digest in self.objects}


# sgd, because adam divides by the root of squared gradients: where those are rounding, so are its steps.
CURVE = {"epochs": 4, "batch": 4, "frozen": True, "optimiser": "sgd", "lr": 1e-2, "augment": {"flip": True}}
# Of a random network's backbone batch norm makes much of rounding, so that a curve would soon be another one.
STEP = {**CURVE, "epochs": 1, "frozen": False, "augment": {"flip": True, "scale": [0.75, 1.5], "crop": [32, 32]}}


@pytest.mark.parametrize("changes", [CURVE, STEP], ids=["curve of the head", "step of the whole"])
async def test_two_processes_train_as_one_with_the_same_batches(tmp_path, monkeypatch, changes):
    found = []
    for processes in ("1", "2"):
        folder = tmp_path / processes
        folder.mkdir()
        monkeypatch.setenv("TESSERA_TRAINING_PROCESSES", processes)
        monkeypatch.setenv("TESSERA_SCRATCH_DIR", str(folder))
        world = OnDisk(folder)
        request = world.request("supervised", **changes)
        # Dropout would draw for each part apart.
        request.architecture.parameters = json.dumps({**json.loads(SLIM.parameters), "dropout": 0.0})
        response = await train(request, world)
        history = tables.read(schemas.HISTORY, world.objects[response.history.sha256], "history")
        state = weights.load(world.objects[response.model.weights.sha256], "model")
        found.append((history, state, world.notes))
        assert not list(folder.glob("tessera-parted-*"))
    (alone, one, _), (parted, two, notes) = found
    assert alone["loss"][0] == pytest.approx(parted["loss"][0], rel=1e-5)
    assert np.allclose(alone["loss"], parted["loss"], rtol=1e-3)
    assert len(alone["loss"]) == 1 or abs(alone["loss"][3] / alone["loss"][0] - 1) > 0.02
    assert all(np.allclose(value, two[name], rtol=1e-2, atol=1e-3) for name, value in one.items())
    assert f"epoch {len(alone['loss'])}" in notes[-1][1]


async def test_methods_that_cannot_be_parted_train_in_one_process_and_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("TESSERA_TRAINING_PROCESSES", "2")
    world = OnDisk(tmp_path)
    settings = {"view": "images", "frozen": True, "memory_bank": {"tap": "decoder"}, "weight": 0, "epochs": 1}
    await train(world.request("contrastive", **settings), world)
    assert any("contrastive trains in one process" in note for _, note in world.notes)


@pytest.mark.parametrize("method", [name for name in training.METHODS.names() if name != "supervised"])
def test_several_processes_are_refused_where_a_loss_is_not_a_mean_over_the_batch(method):
    with pytest.raises(BadInput, match=rf"training {method}: its steps cannot be parted"):
        training.train(method, "{}", None, (), 0, 3, group=Processes(0, 2))


def test_every_row_of_a_batch_is_one_processs():
    for count in range(2, 12):
        for size in range(1, count + 1):
            rows = [row for rank in range(size) for row in range(count)[Processes(rank, size).part(count)]]
            assert rows == list(range(count))
            parts = [len(range(count)[Processes(rank, size).part(count)]) for rank in range(size)]
            assert max(parts) - min(parts) <= 1
    sizes = [len(one) for one in batches(10, 4, np.random.default_rng(0), least=4)]
    assert sizes == [4, 6]
