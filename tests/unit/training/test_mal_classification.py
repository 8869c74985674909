"""Minimax active learning on whole images: one class per image, D on one vector each, a linear network evaluated."""

import json
import math

import numpy as np
import pytest
import torch

from memory_blobs import MemoryBlobs, served
from tessera import models, training
from tessera.acquisition.interfaces import RegionImage
from tessera.acquisition.scoring.auxiliary_networks import Labeledness
from tessera.errors import BadInput
from tessera.formats import checkpoints, images, manifests, schemas, tables, weights
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem
from tessera.models.auxiliary import DiscriminatorParams
from tessera.models.discriminators import VectorDiscriminator
from tessera.models.predictor import Predictor
from tessera.pb.common_pb2 import AxisValue, ImageRange, RegionShard
from tessera.pb.trainer_pb2 import TrainRequest
from tessera.training import Sample, TrainingData, Unlabelled
from tessera.training.ahead import Batch
from tessera.training.losses import entropy
from tessera.training.methods.mal import Mal
from tessera.training.methods.mal.phases import MinimaxPhase
from tessera.training.phase import Setup
from unit.training.test_mal import first_step, same

train = served("trainer").train

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES, SIDE = 3, 32
ACQUIRES = {"width": 0.125, "temperature": 0.05, "hidden": 16}
SETTINGS = {"epochs": 2, "batch": 2, "precision": "float32", "lr": 1e-3, "frozen": False, "backbone_norm": "train"}
SETTINGS |= {"augment": {"flip": True}, "discriminator": {"pool": 1, "lr": 1e-3}, "task": {"classifier": "linear"}}


def network(name="resnet18", seed=1, **changes):
    return models.build(name, json.dumps(ACQUIRES | changes), CLASSES, seed=seed)


def picture(row, shade=60, side=SIDE):
    """Noise around a grey that says the class: 0, 1 or 2."""
    noise = np.random.default_rng(row).integers(0, 60, (side, side, 3))
    return (noise + shade + 40 * (row % CLASSES)).astype(np.uint8)


def pool(labelled=6, unlabelled=6, side=SIDE):
    samples = [
        Sample(picture(row, side=side), np.full((side, side), row % CLASSES, np.uint8), image_id=f"l{row}")
        for row in range(labelled)
    ]
    return TrainingData(
        samples=samples, unlabelled=[Unlabelled(f"u{row}", picture(90 + row, 0, side)) for row in range(unlabelled)]
    )


def trained(data=None, model=None, seed=3, **changes):
    settings = SETTINGS | changes
    return training.train(
        "mal",
        json.dumps(settings),
        model or network(),
        data or pool(),
        seed,
        CLASSES,
        measured=network(temperature=None),
    )


def phase(model=None, **changes):
    made = model or network()
    setup = Setup(pool(), CLASSES, 3, torch.device("cpu"), lambda: made, lambda *_: None)
    torch.manual_seed(0)
    return MinimaxPhase(Mal.model_validate(SETTINGS | changes), setup)


def test_cross_entropy_and_entropy_are_those_of_one_class_an_image():
    one = phase(network(temperature=1.0), augment={"flip": False})
    at = first_step(one)
    one.model.eval()
    index, flip = at.feeds["unlabelled"], np.zeros(2, bool)
    logits = one.inputs.logits(at.index, flip)
    assert logits.shape == (2, CLASSES, 1, 1)
    z = logits[:, :, 0, 0].tolist()
    expected = 0.0
    for row, sample in enumerate(at.index):
        total = sum(math.exp(value) for value in z[row])
        expected -= math.log(math.exp(z[row][sample % CLASSES]) / total) / 2
    update = one.learn(Batch(at.index, flip))
    assert float(update.losses["cross_entropy"].detach()) == pytest.approx(expected, rel=1e-5)
    assert update.weight == 2  # images, not pixels
    z = one.unlabelled.logits(index, flip)[:, :, 0, 0].tolist()
    expected = 0.0
    for row in z:
        total = sum(math.exp(value) for value in row)
        expected -= sum(math.exp(value) / total * math.log(math.exp(value) / total) for value in row) / 2
    one.begin_epoch = lambda: None  # stay in eval mode: the same function
    updates = one.step(at)
    next(updates)
    found = next(updates)
    assert found.seen["entropy"] == pytest.approx(expected, rel=1e-5)
    assert float(found.losses["negative_entropy"].detach()) == pytest.approx(-0.1 * expected, rel=1e-5)


@pytest.mark.parametrize("architecture", ["resnet18", "vgg16"])
@pytest.mark.parametrize("side", ["F", "fc1", "C"])
def test_a_step_on_entropy_lowers_it_by_f_and_fc1_and_raises_it_by_the_prototypes(architecture, side):
    one = phase(model=network(architecture), discriminator=None)
    at = first_step(one)
    one.model.eval()
    index, flip = at.feeds["unlabelled"], np.zeros(2, bool)

    def value():
        with torch.no_grad():
            return float(entropy(one.unlabelled.logits(index, flip)))

    before = value()
    updates = one.step(at)
    next(updates)
    update = next(updates)
    one.model.zero_grad()
    update.losses["negative_entropy"].backward()
    parts = {"F": one.model.backbone, "fc1": one.model.head.fc1, "C": one.classifier}
    moved = [p for p in parts[side].parameters() if p.grad is not None]
    size = math.sqrt(sum(float((p.grad**2).sum()) for p in moved))
    assert size > 0
    with torch.no_grad():
        for p in moved:
            p -= 1e-3 / size * p.grad  # a step of gradient descent, of length .001
    assert (value() < before) == (side != "C")
    assert value() != before


def test_the_discriminator_reads_fs_vector_and_moves_nothing_else():
    one = phase()
    assert isinstance(one.discriminator, VectorDiscriminator)
    assert one.discriminator.layers[0].in_features == one.model.head.inputs
    at = first_step(one)
    flip = np.zeros(2, bool)
    got = one._judged(one.unlabelled, one.pool, np.arange(2), flip)
    with torch.no_grad():
        one.model.eval()
        _, high = one.model.features(one.pool.inputs(np.arange(2), flip))
        vectors = high.mean(dim=(2, 3))
        expected = one.discriminator(vectors / vectors.norm(dim=1, keepdim=True))
    assert torch.allclose(got, expected, atol=1e-5)
    updates = list(one.step(at))
    assert [update.optimiser for update in updates] == ["model", "model", "discriminator"]
    one.model.zero_grad()
    updates[-1].losses["discriminator"].backward()
    assert all(p.grad is None for p in one.model.parameters())
    assert all(p.grad is not None for p in one.discriminator.parameters())


def test_the_score_reads_the_vector_discriminator():
    bright, dark = range(6), range(0, 24, 3)  # no class brings an unlabelled image up to a labelled one
    data = TrainingData(
        samples=[Sample(picture(row, 150), np.full((SIDE, SIDE), row % CLASSES, np.uint8)) for row in bright],
        unlabelled=[Unlabelled(f"u{row}", picture(row, 0)) for row in dark],
    )
    result = trained(data, epochs=10, entropy_weight=0.0, discriminator={"pool": 1, "lr": 5e-3})
    model = network()
    model.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in result.state.items()})
    score = Labeledness(DiscriminatorParams(pool=1), result.artefacts["discriminator"].arrays)
    predictor = Predictor(model, dtype=torch.float32)
    box = np.array([[0, 0, SIDE, SIDE]], np.int32)

    def judged(one):
        return float(score(predictor, RegionImage(np.asarray(one.image), np.zeros(1, np.int32), box))[0])

    assert min(judged(one) for one in data.samples) > max(judged(one) for one in data.unlabelled)


def test_the_task_network_is_linear_starts_from_f_and_leaves_c_behind():
    from tessera.training.methods.mal.phases import TaskPhase

    first = phase()
    setup = Setup(pool(), CLASSES, 3, torch.device("cpu"), network, lambda *_: None,
                  measured=lambda: network(seed=7, temperature=None))  # fmt: skip
    second = TaskPhase(Mal.model_validate(SETTINGS), setup, first.model)
    new, old = second.model.state_dict(), first.model.state_dict()
    equal = {name for name in new if new[name].dim() == 4 and name in old and torch.equal(new[name], old[name])}
    assert equal == {name for name in old if name.startswith("backbone.") and old[name].dim() == 4}
    assert {name for name in new if not name.startswith("backbone.")} == {
        "head.classifier.weight",
        "head.classifier.bias",
    }


@pytest.mark.parametrize("change", [{"entropy_weight": 0.0}, {"discriminator": None}, {"task": {"epochs": 1}}])
def test_switches_change_what_they_should(change):
    base, other = trained(), trained(**change)
    part = next(iter(change))
    assert same(base.state, other.state) == (part != "entropy_weight")
    assert set(other.artefacts) == (set() if part == "discriminator" else {"discriminator"})


def test_the_same_seed_repeats_and_a_stop_changes_nothing():
    first, again, other = trained(), trained(), trained(seed=4)
    for one in ("state", "reported"):
        assert same(getattr(first, one), getattr(again, one))
        assert not same(getattr(first, one), getattr(other, one))

    class Stopped(Exception):
        pass

    for stopped in (1, 3):  # within the first phase; within the second
        seen = []

        def save(state, seen=seen, stopped=stopped):
            seen.append(state)
            if len(seen) == stopped:
                raise Stopped

        def run(**more):
            measured = network(temperature=None)
            settings = json.dumps(SETTINGS)
            return training.train("mal", settings, network(), pool(), 3, CLASSES, measured=measured, **more)

        with pytest.raises(Stopped):
            run(save=save)
        resumed = run(state=seen[-1])
        assert same(resumed.state, first.state)
        assert same(resumed.reported, first.reported)
        assert same(resumed.artefacts["discriminator"].arrays, first.artefacts["discriminator"].arrays)
        assert resumed.losses == first.losses


def test_it_learns_the_classes():
    data = pool(labelled=24, unlabelled=0)
    result = trained(data, epochs=15, batch=8)
    model = network(temperature=None)
    model.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in result.reported.items()})
    predictor = Predictor(model, dtype=torch.float32)
    right = [predictor.logits(picture(row)).argmax() == row % CLASSES for row in range(100, 130)]
    assert np.mean(right) > 0.8


def test_the_best_epoch_is_that_of_the_highest_accuracy():
    val = [Sample(picture(row), np.full((SIDE, SIDE), row % CLASSES, np.uint8), image_id=f"v{row}") for row in range(6)]
    settings = {key: value for key, value in SETTINGS.items() if key not in ("discriminator", "task")}
    settings |= {"view": "images", "epochs": 4}
    model = network(temperature=None)
    got = training.train("supervised", json.dumps(settings), model, pool(), 3, CLASSES, val, "best_val")
    found = [part.value for part in got.losses if part.part == "val_accuracy"]
    assert len(found) == 4
    assert got.kept_epoch == 1 + int(np.argmax(found))
    model.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in got.state.items()})
    predictor = Predictor(model, dtype=torch.float32)
    right = [predictor.logits(np.asarray(one.image)).argmax() == int(one.target[0, 0]) for one in val]
    assert np.mean(right) == max(found)


def test_what_a_whole_image_network_cannot_learn_from_is_refused_by_name():
    mixed = pool()
    mixed.samples[2].target[0, 0] = 0
    with pytest.raises(BadInput, match=r"l2 has classes 0, 2 in places.*partition image"):
        trained(mixed)
    sizes = pool()
    sizes.unlabelled[1] = Unlabelled("u1", picture(3, side=40))
    with pytest.raises(BadInput, match=r"images of 32×32 and of 40×40 pixels.*size=N"):
        trained(sizes)


class World(MemoryBlobs):
    """Six images of one class each; the oracle sees ``truth``, and was asked about the first three."""

    def __init__(self, truth):
        super().__init__()
        items, maps = [], {name: [] for name in schemas.MAPS.names}
        region = self.write(images.encode_png(np.zeros((SIDE, SIDE), np.uint16)), "image/png")
        ref = {part: getattr(region, part) for part in ("bucket", "key", "sha256", "size", "media_type")}
        for row in range(6):
            image = self.write(images.encode_png(picture(row)), "image/png")
            items.append(ImageItem(f"im{row}", image, SIDE, SIDE, "", 0.0))
            for name, value in ({"image_id": f"im{row}", "height": SIDE, "width": SIDE} | ref).items():
                maps[name].append(value)
        classes = tuple(ClassInfo(name, (0, 0, 0)) for name in ("dark", "grey", "light"))
        dataset = DatasetManifest("greys", classes, {"train": tuple(items)}, task="classification")
        self.manifest = self.write(manifests.dataset_to_json(dataset))
        table = self.write(tables.write(schemas.MAPS, maps))
        self.shard = RegionShard(images=ImageRange(split="train", start=0, end=6), maps=table)
        columns = {name: [] for name in schemas.LEDGER.names}
        for row in range(3):
            answer = self.write(images.encode_png(np.full((SIDE, SIDE), truth[row], np.uint8)), "image/png")
            values = dict.fromkeys(schemas.LEDGER.names, 0)
            values |= {"image_id": f"im{row}", "query": "dominant", "classes": [truth[row]], "y1": SIDE, "x1": SIDE}
            values |= {f"answer_{part}": getattr(answer, part) for part in ref}
            values |= {"clicks": 1, "seconds": 1.0, "oracle": "simulated", "event_id": f"{row}"}
            values |= {"seconds_model": "", "map_sha256": ""}
            for name, value in values.items():
                columns[name].append(value)
        self.ledger = self.write(tables.write(schemas.LEDGER, columns))

    def request(self, **changes):
        return TrainRequest(
            manifest=self.manifest,
            ledgers=[self.ledger],
            shards=[self.shard],
            architecture=AxisValue(name="resnet18", parameters=json.dumps(ACQUIRES)),
            classes=CLASSES,
            training=AxisValue(name="mal", parameters=json.dumps(SETTINGS | changes)),
            checkpoint_policy="last",
            seed=3,
        )


async def test_labels_that_nobody_was_asked_for_teach_nothing():
    """Other labels of the images that were not asked leave every weight as it was, bit for bit."""
    answers = []
    for truth in ([0, 1, 2, 0, 1, 2], [0, 1, 2, 2, 2, 0]):
        world = World(truth)
        answers.append(await train(world.request(), world))
    assert answers[0] == answers[1]
    # The images without an answer are seen, as pixels; and another answer changes the weights.
    world = World([0, 1, 2, 0, 1, 2])
    assert (await train(world.request(entropy_weight=0.0), world)).model != answers[0].model
    world = World([1, 1, 2, 0, 1, 2])
    assert (await train(world.request(), world)).model != answers[0].model


async def test_a_job_stores_both_networks_under_their_architectures():
    world = World([0, 1, 2, 0, 1, 2])
    got = await train(world.request(), world)
    assert json.loads(got.reported.architecture.parameters)["temperature"] is None
    for ref, temperature in ((got.model, 0.05), (got.reported, None)):
        made = checkpoints.build_model(ref.architecture, ref.classes, world.objects[ref.weights.sha256], "weights")
        assert getattr(made.head.classifier, "temperature", None) == temperature
    arrays = weights.load(world.objects[got.extras["discriminator"].sha256], "discriminator")
    assert arrays["layers.0.weight"].shape == (512, 64)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_trains_on_a_gpu():
    measured = network(temperature=None)
    got = training.train("mal", json.dumps(SETTINGS), network(), pool(), 3, CLASSES, device="cuda", measured=measured)
    assert all(np.isfinite(value).all() for value in got.reported.values())
