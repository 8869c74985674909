"""Answers that say little, on regions of any shape, as training targets."""

import json

import numpy as np
import pytest
import torch

from artefacts import selection
from memory_blobs import MemoryBlobs, served
from services.oracle.compute import answer
from services.partitioner.compute import partition
from tessera.errors import BadInput
from tessera.formats import images, manifests, schemas, tables
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem, LabelManifest
from tessera.formats.samples import from_answers
from tessera.pb.common_pb2 import AxisValue, ImageRange, JobContext
from tessera.pb.oracle_pb2 import AnswerRequest
from tessera.pb.partitioner_pb2 import PartitionRequest
from tessera.pb.trainer_pb2 import TrainRequest
from tessera.queries import AnnotatedImage, ask
from tessera.regions import PARTITIONS, region_table

train = served("trainer").train

HEIGHT, WIDTH, CLASSES = 48, 64, 3
QUERIES = {
    "mask": {},
    "dominant": {},
    "pixel": {"pixels": 3},
    "polygon_in_patch": {"min_pixels": 1, "epsilon": 0.5},
    "multi_class": {},
}


class World(MemoryBlobs):
    """Two images with SEEDS regions; some of the regions are answered."""

    def __init__(self):
        super().__init__()
        torch.set_num_threads(1)
        rng = np.random.default_rng(0)
        self.truth, items = {}, []
        for index in range(2):
            truth = np.kron(rng.choice(np.array([0, 1, 2, 255], np.uint8), (4, 4)), np.ones((12, 16), np.uint8))
            rgb = np.clip(np.minimum(truth, 3)[..., None] * 70 + rng.integers(0, 40, (HEIGHT, WIDTH, 3)), 0, 255)
            name = f"im{index}"
            image = self.write(images.encode_png(rgb.astype(np.uint8)), "image/png")
            items.append(ImageItem(name, image, WIDTH, HEIGHT, "s", float(index)))
            self.truth[name] = truth
        classes = tuple(ClassInfo(f"c{i}", (i, i, i)) for i in range(CLASSES))
        self.dataset = DatasetManifest("toy", classes, {"train": tuple(items)})
        self.manifest = self.write(manifests.dataset_to_json(self.dataset))
        self.relabel(self.truth)
        request = PartitionRequest(
            manifest=self.manifest,
            images=ImageRange(split="train", start=0, end=2),
            partition=AxisValue(name="seeds", parameters=PARTITIONS.canonical("seeds", {"levels": 3, "size": 8})),
        )
        self.shard = partition(request, self).shard
        maps = tables.read(schemas.MAPS, self.read(self.shard.maps), "maps")
        self.maps = {
            str(name): images.decode_map(self.objects[digest], str(name))
            for name, digest in zip(maps["image_id"], maps["sha256"], strict=True)
        }

    def relabel(self, truth):
        """Let the oracle see these label maps, by image id."""
        refs = {name: self.write(images.encode_png(labels), "image/png") for name, labels in truth.items()}
        self.labels = self.write(manifests.labels_to_json(LabelManifest("train", refs)))

    def noise_outside(self, chosen):
        """The label maps with noise in place of every label outside the (image, region) pairs ``chosen``."""
        rng, made = np.random.default_rng(9), {}
        for name, truth in self.truth.items():
            asked = np.isin(self.maps[name], [region for image, region in chosen if image == name])
            made[name] = np.where(asked, truth, rng.integers(0, CLASSES, truth.shape)).astype(np.uint8)
            assert not np.array_equal(made[name], truth)
        return made

    def asked(self, query, chosen):
        request = AnswerRequest(
            context=JobContext(round=0),
            manifest=self.manifest,
            shards=[self.shard],
            selection=selection(self, chosen),
            labels=self.labels,
            query=AxisValue(name=query, parameters=json.dumps(QUERIES[query])),
            oracle=AxisValue(name="simulated", parameters="{}"),
        )
        return answer(request, self).ledger

    def expected(self, query, image, regions):
        """The image with what is said about some regions pasted by hand."""
        frame = AnnotatedImage(image, self.truth[image], self.maps[image], 255, CLASSES)
        target = np.full((HEIGHT, WIDTH), 255, np.uint8)
        for region in regions:
            box = region_table(self.maps[image]).box(region)
            crop = ask(frame.question(region, box), (query, QUERIES[query])).crop
            if crop is not None:
                y0, x0, y1, x1 = box
                inside = self.maps[image][y0:y1, x0:x1] == region
                target[y0:y1, x0:x1][inside] = crop[inside]
        return target


@pytest.fixture(scope="module")
def world():
    return World()


def some(world):
    return [(image, region) for image in ("im1", "im0") for region in range(0, int(world.maps[image].max()) + 1, 3)]


@pytest.mark.parametrize("query", sorted(QUERIES))
def test_regions_of_any_shape_land_where_they_are(world, query):
    chosen = some(world)
    table = tables.read(schemas.LEDGER, world.read(world.asked(query, chosen)), "ledger")
    pixelwise = [index for index in range(len(chosen)) if table["answer_sha256"][index]]
    assert (len(pixelwise) < len(chosen)) == (query == "multi_class")
    by_view = {
        view: from_answers(world.dataset, "train", [table], view, world, "skip")
        for view in ("images", "crops", "windows")
    }
    whole = {image: world.expected(query, image, [r for i, r in chosen if i == image]) for image in ("im1", "im0")}
    assert [sample.target.tolist() for sample in by_view["images"]] == [target.tolist() for target in whole.values()]
    for view in ("crops", "windows"):
        assert len(by_view[view]) == len(pixelwise)
        for index, sample in zip(pixelwise, by_view[view], strict=True):
            image, region = chosen[index]
            y0, x0, y1, x1 = (int(table[name][index]) for name in ("y0", "x0", "y1", "x1"))
            assert (sample.target == world.expected(query, image, [region])[y0:y1, x0:x1]).all()
            assert (sample.box is None) == (view == "crops")


@pytest.mark.parametrize("view", ["images", "crops", "windows"])
@pytest.mark.parametrize("query", ["multi_class", "pixel"])
async def test_training_runs_on_them(world, query, view):
    settings = {"epochs": 1, "batch": 4, "precision": "float32", "view": view, "without_pixels": "skip"}
    request = TrainRequest(
        manifest=world.manifest,
        ledgers=[world.asked(query, some(world))],
        shards=[world.shard],
        architecture=AxisValue(name="deeplabv3plus_mobilenetv2", parameters=json.dumps({"width": 0.125})),
        classes=CLASSES,
        training=AxisValue(name="supervised", parameters=json.dumps(settings)),
        checkpoint_policy="last",
    )
    response = await train(request, world)
    history = tables.read(schemas.HISTORY, world.objects[response.history.sha256], "history")
    assert np.isfinite(history["loss"]).all()
    assert (history["loss"] > 0).all()


def test_answers_without_pixels_are_refused_unless_the_recipe_leaves_them_out(world):
    table = tables.read(schemas.LEDGER, world.read(world.asked("multi_class", some(world))), "ledger")
    with pytest.raises(BadInput, match=r"has no pixel-wise answer; set training\.without_pixels to skip"):
        from_answers(world.dataset, "train", [table], "images", world)
    several = [row for row in range(len(some(world))) if not table["answer_sha256"][row]]
    mute = {name: [column[row] for row in several] for name, column in table.items()}
    with pytest.raises(BadInput, match=f"none of the {len(several)} answers has pixels"):
        from_answers(world.dataset, "train", [mute], "images", world, "skip")
