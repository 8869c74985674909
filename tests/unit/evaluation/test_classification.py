"""Accuracy of whole images against a loop, and the evaluator's counts on a data set of classification."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_blobs import MemoryBlobs, served
from tessera import evaluation as ev
from tessera import models
from tessera.errors import BadInput
from tessera.formats import checkpoints, images, manifests, schemas, tables
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem, LabelManifest
from tessera.loop.summary import auc, headline, quality
from tessera.pb.common_pb2 import AxisValue, ImageRange, ModelRef
from tessera.pb.evaluator_pb2 import EvaluateRequest
from tessera.pb.runs_pb2 import SplitCounts

evaluate = served("evaluator").evaluate

CLASSES, SIDE = 3, 32


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_accuracy_is_the_share_of_images_whose_class_is_right(data):
    count = data.draw(st.integers(1, 12))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    truth = rng.integers(0, CLASSES, count)
    logits = rng.normal(size=(count, CLASSES, 1, 1)).astype(np.float32)
    total, right = np.zeros((CLASSES, CLASSES), np.int64), 0
    for label, scores in zip(truth, logits, strict=True):
        side = int(rng.integers(1, 9))  # images of any size count once
        total += ev.confusion_of_image(np.full((side, side + 1), label, np.uint8), scores)
        best = 0
        for index in range(CLASSES):
            best = index if scores[index, 0, 0] > scores[best, 0, 0] else best
        right += best == label
    tp, _, fn = ev.sums(total)
    assert total.sum() == count
    assert ev.accuracy(tp, fn) == pytest.approx(right / count)


def test_maps_of_logits_count_by_their_mean_and_ties_by_the_lowest_class():
    logits = np.array([[[0.0, 9.0]], [[5.0, 5.0]], [[5.0, 5.0]]], np.float32)
    assert ev.confusion_of_image(np.full((2, 2), 2, np.uint8), logits)[2].tolist() == [0, 1, 0]


@pytest.mark.parametrize("labels", [[0, 1], [255], [2, 255]])
def test_an_image_of_several_classes_or_none_is_refused(labels):
    truth = np.resize(np.array(labels, np.uint8), (2, 2))
    with pytest.raises(BadInput, match=r"im7 has classes .*import the data set again"):
        ev.confusion_of_image(truth, np.zeros((CLASSES, 1, 1), np.float32), name="im7")


class World(MemoryBlobs):
    """Five grey images, brighter from class to class, and a network that was never trained."""

    def __init__(self, task="classification"):
        super().__init__()
        items, refs = [], {}
        self.truth = [0, 1, 2, 2, 1]
        self.rgb = [np.full((SIDE, SIDE + 8 * row, 3), 40 + 50 * row, np.uint8) for row in range(5)]
        for row, label in enumerate(self.truth):
            image = self.write(images.encode_png(self.rgb[row]), "image/png")
            items.append(ImageItem(f"im{row}", image, SIDE + 8 * row, SIDE, "", 0.0))
            truth = np.full((SIDE, SIDE + 8 * row), label, np.uint8)
            refs[f"im{row}"] = self.write(images.encode_png(truth), "image/png")
        classes = tuple(ClassInfo(name, (0, 0, 0)) for name in ("dark", "grey", "light"))
        dataset = DatasetManifest("greys", classes, {"test": tuple(items)}, task=task)
        self.model = models.build("resnet18", json.dumps({"width": 0.125}), CLASSES, seed=4)
        weights = self.write(checkpoints.dump_model(self.model))
        shape = AxisValue(name="resnet18", parameters=json.dumps({"width": 0.125}))
        self.fields = {
            "manifest": self.write(manifests.dataset_to_json(dataset)),
            "labels": self.write(manifests.labels_to_json(LabelManifest("test", refs))),
            "model": ModelRef(architecture=shape, classes=CLASSES, weights=weights),
        }

    def request(self, start=0, end=5):
        return EvaluateRequest(images=ImageRange(split="test", start=start, end=end), **self.fields)


async def test_the_evaluator_counts_images_and_shards_add_up():
    world = World()
    whole = await evaluate(world.request(), world)
    parts = [await evaluate(world.request(0, 2), world), await evaluate(world.request(2, 5), world)]
    assert whole.counts_images
    assert whole.images == 5
    for name in ("true_positives", "false_positives", "false_negatives"):
        columns = [list(getattr(part, name)) for part in parts]
        assert list(getattr(whole, name)) == [sum(pair) for pair in zip(*columns, strict=True)]
    assert sum(whole.true_positives) + sum(whole.false_negatives) == 5
    rows = tables.read(schemas.CONFUSION, world.objects[whole.confusion.sha256], "confusion")
    assert list(rows["image_id"]) == [f"im{row}" for row in range(5)]
    assert list(rows["count"]) == [1] * 5
    assert list(rows["truth"]) == world.truth
    right = np.mean(rows["truth"] == rows["predicted"])
    counts = SplitCounts(split="test", images=5, counts_images=True)
    for name in ("true_positives", "false_positives", "false_negatives"):
        getattr(counts, name).extend(getattr(whole, name))
    found = quality(counts)
    assert found["accuracy"] == pytest.approx(right)
    assert "pixel_accuracy" not in found
    assert headline(found) == found["accuracy"]


async def test_the_same_images_of_a_data_set_of_segmentation_count_by_pixel():
    world = World(task="segmentation")
    got = await evaluate(world.request(), world)
    assert not got.counts_images
    assert sum(got.true_positives) + sum(got.false_negatives) == sum(SIDE * (SIDE + 8 * row) for row in range(5))


def test_curves_of_classification_are_of_accuracy():
    def one(share, accuracy):
        return {"regions_fraction": share, "test": {"miou": 0.1, "accuracy": accuracy, "iou": [], "images": 5}}

    area = auc([one(0.1, 0.5), one(0.3, 0.7)], "test")
    assert area["mean"] == pytest.approx(0.6)
