"""Trainer and evaluator from request to response, the compute function seeing only what the handler named."""

import json

import numpy as np
import pytest
import torch

from memory_blobs import MemoryBlobs, served
from tessera.errors import BadInput
from tessera.evaluation import miou
from tessera.formats import checkpoints, images, manifests, schemas, tables, weights
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem, LabelManifest
from tessera.lru import ByteLimitedLRU
from tessera.pb.common_pb2 import AxisValue, ImageRange, ModelRef, RegionShard
from tessera.pb.evaluator_pb2 import EvaluateRequest
from tessera.pb.trainer_pb2 import TrainRequest
from tessera.queries import Question, ask

evaluate = served("evaluator").evaluate
train = served("trainer").train

SLIM = AxisValue(name="deeplabv3plus_mobilenetv2", parameters=json.dumps({"width": 0.125}))
HEIGHT, WIDTH, CLASSES = 40, 60, 3


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def world():
    """Two train and two val images, all labelled; rows 0 to 19 class 0, rows 20 to 39 class 1, a corner ignored."""
    store = MemoryBlobs()
    rng = np.random.default_rng(0)
    splits, labels = {}, {}
    for split in ("train", "val"):
        items, refs = [], {}
        for index in range(2):
            truth = np.zeros((HEIGHT, WIDTH), np.uint8)
            truth[20:] = 1
            truth[:4, :4] = 255
            rgb = (truth[..., None] * 90 + rng.integers(0, 60, (HEIGHT, WIDTH, 3))).astype(np.uint8)
            image = store.write(images.encode_png(rgb), "image/png")
            items.append(ImageItem(f"{split}{index}", image, WIDTH, HEIGHT, "s", float(index)))
            refs[f"{split}{index}"] = store.write(images.encode_png(truth), "image/png")
        splits[split] = tuple(items)
        store.val_refs = refs
        labels[split] = store.write(manifests.labels_to_json(LabelManifest(split, refs)))
    classes = tuple(ClassInfo(name, (0, 0, 0)) for name in ("up", "down", "never"))
    manifest = store.write(manifests.dataset_to_json(DatasetManifest("tiny", classes, splits)))
    return store, manifest, labels


def ledger(store, rows):
    """Rows are (image id, region id, box, answer array)."""
    columns = {name: [] for name in schemas.LEDGER.names}
    for image_id, region_id, box, answer in rows:
        ref = store.write(images.encode_png(answer), "image/png")
        row = {"round": 0, "image_id": image_id, "region_id": region_id, "query": "mask", "classes": [0]}
        row |= {f"answer_{part}": getattr(ref, part) for part in ("bucket", "key", "sha256", "size", "media_type")}
        row |= dict(zip(("y0", "x0", "y1", "x1"), box, strict=True))
        row |= {"pixels": answer.size, "clicks": 1, "clicks_without_undefined": 1, "seconds": 1.0}
        row |= {"oracle": "simulated", "seed": 0, "event_id": f"{image_id}/{region_id}"}
        row |= {"seconds_model": "per_click", "map_sha256": ""}
        for name, value in row.items():
            columns[name].append(value)
    return store.write(tables.write(schemas.LEDGER, columns))


def request(store, manifest, ledgers, **training):
    settings = {"epochs": 1, "batch": 2, "precision": "float32"} | training
    return TrainRequest(
        manifest=manifest,
        ledgers=ledgers,
        shards=[RegionShard(images=ImageRange(split="train", start=0, end=2))],
        architecture=SLIM,
        classes=CLASSES,
        training=AxisValue(name="supervised", parameters=json.dumps(settings)),
        checkpoint_policy="last",
        seed=4,
    )


def two_answers(store):
    top = np.zeros((20, 30), np.uint8)
    bottom = np.ones((20, 30), np.uint8)
    return [
        ledger(store, [("train0", 0, (0, 0, 20, 30), top)]),
        ledger(store, [("train1", 3, (20, 30, 40, 60), bottom), ("train0", 3, (20, 30, 40, 60), bottom)]),
    ]


@pytest.mark.parametrize("view", ["crops", "images", "windows"])
async def test_train_then_evaluate(world, view):
    store, manifest, labels = world
    response = await train(request(store, manifest, two_answers(store), view=view), store)
    assert response.kept_epoch == 1
    history = tables.read(schemas.HISTORY, store.objects[response.history.sha256], "history")
    assert history["epoch"].tolist() == [1]
    assert store.notes[-1][0] == 1.0

    shards = []
    for start, end in ((0, 2), (0, 1), (1, 2)):
        part = ImageRange(split="val", start=start, end=end)
        asked = EvaluateRequest(manifest=manifest, images=part, labels=labels["val"], model=response.model)
        shards.append(await evaluate(asked, store))
    whole, *halves = shards
    for field in ("true_positives", "false_positives", "false_negatives"):
        assert list(getattr(whole, field)) == [
            sum(pair) for pair in zip(*(getattr(h, field) for h in halves), strict=True)
        ]
    assert whole.images == 2
    cells = tables.read(schemas.CONFUSION, store.objects[whole.confusion.sha256], "confusion")
    assert int(cells["count"].sum()) == 2 * (HEIGHT * WIDTH - 16)
    assert sum(whole.true_positives) + sum(whole.false_negatives) == 2 * (HEIGHT * WIDTH - 16)
    assert 0.0 <= miou(whole.true_positives, whole.false_positives, whole.false_negatives) <= 1.0


async def test_an_output_for_undefined_is_no_class_of_the_measure(world):
    from tessera import models

    store, manifest, labels = world
    network = models.build(SLIM.name, SLIM.parameters, CLASSES + 1, seed=2)
    asked = EvaluateRequest(manifest=manifest, images=ImageRange(split="val", start=0, end=2), labels=labels["val"])
    asked.model.CopyFrom(ModelRef(architecture=SLIM, classes=CLASSES + 1))
    counts = []
    for bias in (-1e4, 1e4):
        with torch.no_grad():
            network.head.classifier.bias[-1] = bias
        asked.model.weights.CopyFrom(store.write(checkpoints.dump_model(network)))
        counts.append(await evaluate(asked, store))
    # However sure the network is that a pixel is undefined, the best of the other classes counts.
    assert counts[0].true_positives == counts[1].true_positives
    assert len(counts[0].true_positives) == CLASSES
    assert sum(counts[0].true_positives) + sum(counts[0].false_negatives) == 2 * (HEIGHT * WIDTH - 16)
    asked.model.classes = CLASSES + 2
    with pytest.raises(BadInput, match="5 outputs for the 3 classes of tiny"):
        await evaluate(asked, store)


async def test_the_same_request_gives_the_same_weights_and_another_seed_others(world):
    store, manifest, _ = world
    asked = request(store, manifest, two_answers(store))
    first = await train(asked, store)
    assert (await train(asked, store)).model.weights.sha256 == first.model.weights.sha256
    asked.seed = 5
    assert (await train(asked, store)).model.weights.sha256 != first.model.weights.sha256


def test_views_make_the_samples_the_answers_say(world):
    from tessera.formats.samples import from_answers

    store, manifest, _ = world
    answer = np.full((20, 30), 255, np.uint8)
    answer[:, :10] = 2
    ledgers = [*two_answers(store), ledger(store, [("train0", 4, (20, 30, 40, 60), answer)])]
    dataset = manifests.dataset_from_json(store.objects[manifest.sha256])
    rows = [tables.read(schemas.LEDGER, store.objects[ref.sha256], "ledger") for ref in ledgers]
    crops = from_answers(dataset, "train", rows, "crops", store)
    whole = from_answers(dataset, "train", rows, "images", store)
    assert [crop.target.shape for crop in crops] == [(20, 30)] * 4
    rgb = images.decode_rgb(store.objects[dataset.split("train")[1].image.sha256], "train1")
    assert np.array_equal(crops[1].image, rgb[20:, 30:])
    assert len(whole) == 2
    expected = np.full((HEIGHT, WIDTH), 255, np.uint8)
    expected[:20, :30] = 0
    expected[20:, 30:] = 1
    expected[20:, 30:40] = 2  # the later answer; its 255 does not erase the earlier one
    assert np.array_equal(whole[0].target, expected)


def test_an_answer_says_undefined_by_255_whatever_the_data_sets_ignore_index(world):
    from tessera.formats.samples import from_answers, from_labels

    store, _, _ = world
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    truth[:5] = 250
    image = store.write(images.encode_png(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    item = ImageItem("odd", image, WIDTH, HEIGHT, "s", 0.0)
    classes = tuple(ClassInfo(name, (0, 0, 0)) for name in ("a", "b", "c"))
    dataset = DatasetManifest("odd", classes, {"train": (item,), "val": (item,)}, 250)
    label = store.write(images.encode_png(truth))
    question = Question.of("odd", truth, np.zeros((HEIGHT, WIDTH), np.int32), 0, (0, 0, HEIGHT, WIDTH), 250)
    rows = ledger(store, [("odd", 0, (0, 0, HEIGHT, WIDTH), ask(question, ("mask", {})).crop)])
    table = tables.read(schemas.LEDGER, store.objects[rows.sha256], "ledger")
    expected = np.where(truth == 250, 255, truth)
    for view in ("crops", "windows", "images"):
        assert np.array_equal(from_answers(dataset, "train", [table], view, store)[0].target, expected)
    assert np.array_equal(from_labels(dataset, LabelManifest("val", {"odd": label}), store)[0].target, expected)


@pytest.mark.parametrize(
    ("settings", "times"), [({"view": "images", "frozen": False, "epochs": 3}, 3), ({"view": "windows"}, 2)]
)
async def test_images_that_do_not_fit_are_decoded_again_and_change_nothing(world, settings, times, monkeypatch):
    from tessera.formats import samples

    store, manifest, _ = world
    asked = request(store, manifest, two_answers(store), **settings)
    roomy = await train(asked, store)
    decoded, plain = [], images.decode_rgb
    monkeypatch.setattr(images, "decode_rgb", lambda data, name: decoded.append(name) or plain(data, name))
    assert (await train(asked, store)).model.weights.sha256 == roomy.model.weights.sha256
    assert not decoded
    monkeypatch.setattr(samples, "_images", ByteLimitedLRU(HEIGHT * WIDTH * 3, lambda rgb: rgb.nbytes))
    assert (await train(asked, store)).model.weights.sha256 == roomy.model.weights.sha256
    # Of two images only the last one looked at is still there.
    assert len(decoded) >= times
    assert len(samples._images) == 1


async def test_best_val_reads_val_and_says_when_it_cannot(world):
    store, manifest, labels = world
    asked = request(store, manifest, two_answers(store), epochs=2)
    asked.checkpoint_policy = "best_val"
    with pytest.raises(BadInput, match="labels of split val"):
        await train(asked, store)
    asked.val_labels.CopyFrom(labels["val"])
    response = await train(asked, store)
    history = tables.read(schemas.HISTORY, store.objects[response.history.sha256], "history")
    assert response.kept_epoch == int(np.argmax(history["val_miou"])) + 1
    # A checkpoint chosen by the labels of another split, test above all, would be a leak.
    asked.val_labels.CopyFrom(store.write(manifests.labels_to_json(LabelManifest("test", store.val_refs))))
    with pytest.raises(BadInput, match="labels of split test"):
        await train(asked, store)


async def test_pretrained_weights_end_up_in_the_backbone(world):
    from tessera import models

    store, manifest, _ = world
    source = models.build(SLIM.name, SLIM.parameters, CLASSES, seed=77)
    backbone = {key: value.numpy() for key, value in source.backbone.state_dict().items()}
    asked = request(store, manifest, two_answers(store))
    asked.pretrained.CopyFrom(store.write(weights.save(backbone)))
    response = await train(asked, store)
    trained = weights.load(store.objects[response.model.weights.sha256], "trained")
    assert np.array_equal(trained["backbone.features.0.0.weight"], backbone["features.0.0.weight"])
    asked.pretrained.CopyFrom(store.write(b"\x80\x04 not weights"))
    with pytest.raises(BadInput, match="pickle"):
        await train(asked, store)


async def test_ledgers_that_do_not_fit_are_named(world):
    store, manifest, _ = world
    answer = np.zeros((20, 30), np.uint8)
    for row, words in (
        (("train0", 0, (0, 0, 10, 30), answer), "answer to train0 region 0"),
        (("train0", 1, (30, 40, 50, 70), answer), "outside"),
        (("train0", 2, (0, 0, 20, 30), answer + 7), "7"),
        (("nowhere", 0, (0, 0, 20, 30), answer), "nowhere"),
    ):
        with pytest.raises(BadInput, match=words):
            await train(request(store, manifest, [ledger(store, [row])]), store)
    with pytest.raises(BadInput, match="no samples"):
        await train(request(store, manifest, []), store)


async def test_weights_of_another_architecture_stop_the_evaluation(world):
    store, manifest, labels = world
    from tessera import models

    data = checkpoints.dump_model(models.build(SLIM.name, SLIM.parameters, 5))
    model = ModelRef(architecture=SLIM, classes=CLASSES, weights=store.write(data))
    part = ImageRange(split="val", start=0, end=2)
    with pytest.raises(BadInput, match="classifier"):
        await evaluate(EvaluateRequest(manifest=manifest, images=part, labels=labels["val"], model=model), store)
    model.classes = 5
    with pytest.raises(BadInput, match="labels of train"):
        await evaluate(EvaluateRequest(manifest=manifest, images=part, labels=labels["train"], model=model), store)
