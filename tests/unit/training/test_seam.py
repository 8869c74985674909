"""The seam between loop and method, by a toy method that one file adds: its loss, unlabelled images and artefacts."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import tessera.training.methods
from memory_blobs import MemoryBlobs, served
from tessera.errors import BadInput
from tessera.formats import images, manifests, schemas, tables, training_state, weights
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem
from tessera.formats.training_data import gather
from tessera.pb.common_pb2 import AxisValue, ImageRange, RegionShard
from tessera.pb.trainer_pb2 import TrainRequest
from tessera.training import METHODS
from tessera.training.samples import Needs, Unlabelled

train = served("trainer").train

SIZE, CLASSES = 32, 3
SLIM = AxisValue(name="deeplabv3plus_mobilenetv2", parameters=json.dumps({"width": 0.125}))

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def toy(monkeypatch):
    """The toy methods, registered as if their files lay in the package."""
    folder = Path(__file__).parents[2] / "toy_method" / "methods"
    monkeypatch.setattr(tessera.training.methods, "__path__", [*tessera.training.methods.__path__, str(folder)])
    METHODS.names()
    names = [path.stem for path in folder.glob("*.py")]
    for name in names:
        importlib.reload(importlib.import_module(f"tessera.training.methods.{name}"))
    yield
    for name in names:
        del METHODS._entries[name]


class Stopped(Exception):
    """Ends a training from its ``save``."""


def state_after(run, epochs):
    """Run a training that is stopped after so many epochs; the last state that it saved."""
    seen = []

    def save(state):
        seen.append(state)
        if len(seen) == epochs:
            raise Stopped

    with pytest.raises(Stopped):
        run(save=save)
    return seen[-1]


class World(MemoryBlobs):
    """Four images of left and right halves; the first two have an answer for each half."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.truth = np.zeros((SIZE, SIZE), np.uint8)
        self.truth[:, SIZE // 2 :] = 1
        regions = self.write(images.encode_png(self.truth.astype(np.uint16)), "image/png")
        items, maps = [], {name: [] for name in schemas.MAPS.names}
        for index in range(4):
            rgb = (self.truth[..., None] * 120 + rng.integers(0, 60, (SIZE, SIZE, 3))).astype(np.uint8)
            image = self.write(images.encode_png(rgb), "image/png")
            items.append(ImageItem(f"im{index}", image, SIZE, SIZE, "s", float(index)))
            row = {part: getattr(regions, part) for part in ("bucket", "key", "sha256", "size", "media_type")}
            for name, value in ({"image_id": f"im{index}", "height": SIZE, "width": SIZE} | row).items():
                maps[name].append(value)
        classes = tuple(ClassInfo(name, (0, 0, 0)) for name in ("left", "right", "never"))
        self.dataset = DatasetManifest("halves", classes, {"train": tuple(items)})
        self.manifest = self.write(manifests.dataset_to_json(self.dataset))
        table = self.write(tables.write(schemas.MAPS, maps))
        self.shard = RegionShard(images=ImageRange(split="train", start=0, end=4), maps=table)
        self.ledger = self.answers([("im1", 0, [0]), ("im1", 1, [1]), ("im0", 0, [0]), ("im0", 1, [1])])

    def answers(self, rows):
        """A ledger; an answer of one class is filled with it, one of several has no pixels."""
        columns = {name: [] for name in schemas.LEDGER.names}
        half = SIZE // 2
        for image_id, region, classes in rows:
            row = dict.fromkeys(schemas.LEDGER.names, 0)
            row |= {"image_id": image_id, "region_id": region, "query": "multi_class", "classes": classes}
            row |= dict.fromkeys([f"answer_{part}" for part in ("bucket", "key", "sha256", "media_type")], "")
            if len(classes) == 1:
                ref = self.write(images.encode_png(np.full((SIZE, half), classes[0], np.uint8)), "image/png")
                parts = ("bucket", "key", "sha256", "size", "media_type")
                row |= {f"answer_{part}": getattr(ref, part) for part in parts}
            row |= {"y0": 0, "y1": SIZE, "x0": region * half, "x1": (region + 1) * half, "seconds": 1.0}
            row |= {"oracle": "simulated", "event_id": f"{image_id}/{region}", "seconds_model": "", "map_sha256": ""}
            for name, value in row.items():
                columns[name].append(value)
        return self.write(tables.write(schemas.LEDGER, columns))

    def request(self, name="toy_mean_teacher", **training):
        settings = {"epochs": 2, "batch": 2, "precision": "float32", "view": "images", **training}
        return TrainRequest(
            manifest=self.manifest,
            ledgers=[self.ledger],
            shards=[self.shard],
            architecture=SLIM,
            classes=CLASSES,
            training=AxisValue(name=name, parameters=json.dumps(settings)),
            checkpoint_policy="last",
            seed=7,
        )

    def gathered(self, needs, ledger=None):
        rows = [tables.read(schemas.LEDGER, self.objects[(ledger or self.ledger).sha256], "ledger")]
        return gather(self.dataset, "train", rows, [self.shard], needs, self)


@pytest.fixture
def world():
    return World()


async def test_one_file_adds_a_method_with_its_loss_unlabelled_images_and_artefacts(world, toy):
    response = await train(world.request(), world)
    assert response.HasField("reported")
    assert response.reported.weights.sha256 != response.model.weights.sha256
    assert not response.HasField("features")
    losses = tables.read(schemas.LOSSES, world.objects[response.losses.sha256], "losses")
    assert list(losses["part"]) == ["cross_entropy", "entropy", "images"] * 2
    assert list(losses["epoch"]) == [1, 1, 1, 2, 2, 2]
    history = tables.read(schemas.HISTORY, world.objects[response.history.sha256], "history")
    assert set(response.extras) == {"mean_prediction", "guesses"}
    mean = weights.load(world.objects[response.extras["mean_prediction"].sha256], "mean")["mean"]
    assert mean.sum() == pytest.approx(1.0, abs=1e-5)
    planes = tables.read(schemas.PLANES, world.objects[response.extras["guesses"].sha256], "planes")
    assert list(planes["image_id"]) == ["im0", "im1", "im2", "im3"]
    guess = images.decode_labels(world.objects[planes["sha256"][0]], "guess", CLASSES)
    assert guess.shape == (int(planes["height"][0]), int(planes["width"][0]))
    assert len(history["loss"]) == 2
    assert "entropy" in world.notes[-1][1]
    assert (await train(world.request(), world)) == response


def test_unlabelled_images_are_images_only(world):
    assert set(Unlabelled.__dataclass_fields__) == {"image_id", "image"}
    kinds = {"none": [], "unasked": ["im2", "im3"], "asked": ["im0", "im1"], "pool": ["im0", "im1", "im2", "im3"]}
    for kind, expected in kinds.items():
        found = world.gathered(Needs(unlabelled=kind)).unlabelled
        assert [one.image_id for one in found] == expected
        assert all(np.asarray(one.image).shape == (SIZE, SIZE, 3) for one in found)


def test_partial_answers_name_regions_and_class_sets(world):
    world.dataset = DatasetManifest("halves", world.dataset.classes, world.dataset.splits, ignore_index=255)
    ledger = world.answers([("im3", 1, [0, 1]), ("im2", 0, [2]), ("im3", 0, [1, 255])])
    first, second = world.gathered(Needs(view="regions"), ledger).partial
    assert (first.image_id, second.image_id) == ("im3", "im2")
    assert first.asked.tolist() == [0, 1]
    assert first.classes.tolist() == [[False, True, False, True], [True, True, False, False]]
    assert np.array_equal(np.asarray(first.regions), world.truth)
    assert second.asked.tolist() == [0]
    assert second.classes.tolist() == [[False, False, True, False]]


async def test_a_method_goes_on_from_the_round_before_where_it_says_so(world, toy):
    made = (await train(world.request(), world)).model
    before = weights.load(world.objects[made.weights.sha256], "before")
    request = world.request(reinitialise="none", lr=1e-12)
    anew = weights.load(world.objects[(await train(request, world)).model.weights.sha256], "anew")
    request.previous.CopyFrom(made)
    after = weights.load(world.objects[(await train(request, world)).model.weights.sha256], "after")
    names = [name for name in before if name.endswith("weight")]
    assert all(np.allclose(after[name], before[name], atol=1e-6) for name in names)
    assert not all(np.allclose(anew[name], before[name], atol=1e-6) for name in names)


async def test_phases_acquire_and_report_and_may_have_an_output_for_undefined(world, toy):
    response = await train(world.request("toy_two_phases", undefined=True), world)
    assert (response.model.classes, response.reported.classes) == (CLASSES + 1, CLASSES + 1)
    assert response.model.weights.sha256 != response.reported.weights.sha256
    losses = tables.read(schemas.LOSSES, world.objects[response.losses.sha256], "losses")
    assert list(zip(losses["phase"], losses["epoch"].tolist(), strict=True)) == [
        ("labels", 1), ("labels", 2), ("predictions", 3), ("predictions", 4)
    ]  # fmt: skip
    assert response.kept_epoch == 4
    assert [note for _, note in world.notes][-1].startswith("predictions, epoch 2/2")


def test_supervised_training_draws_what_a_plain_loop_draws(world):
    """The loop against a few lines that draw head, order, flips and dropout in the order that they always had."""
    from tessera import models, training
    from tessera.models.network import channels_last
    from tessera.training.data import SampleSet
    from tessera.training.losses import cross_entropy
    from tessera.training.streams import batches

    data = world.gathered(Needs()).samples
    data = [*data, *data, data[0]]
    settings = {"epochs": 2, "batch": 2, "precision": "float32", "view": "images", "frozen": False}
    settings |= {"augment": {"flip": True}, "lr": 1e-2}
    model = models.build(SLIM.name, SLIM.parameters, CLASSES, seed=1)
    got = training.train("supervised", json.dumps(settings), model, data, 3, CLASSES)

    rng = np.random.default_rng(3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model.head.reset_parameters()
        channels_last(model)
        optimiser = torch.optim.Adam(model.parameters(), 1e-2, fused=True)
        samples = SampleSet(data, torch.device("cpu"), torch.float32)
        for _ in range(2):
            model.train()
            model.backbone.eval()
            for index in batches(len(data), 2, rng):
                flip = rng.random(len(index)) < 0.5
                loss = cross_entropy(
                    model.head(*model.features(samples.inputs(index, flip))), samples.target(index, flip)
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    for key, value in model.state_dict().items():
        assert np.array_equal(value.numpy(), got.state[key]), key


@pytest.mark.parametrize(
    ("method", "stopped"),
    [("supervised", 1), ("toy_mean_teacher", 1), *[("toy_two_phases", epoch) for epoch in (1, 2, 3)]],
)
def test_a_training_goes_on_from_any_epoch_and_ends_in_the_same_weights(world, toy, method, stopped):
    from tessera import models, training

    data = world.gathered(Needs(unlabelled="pool", whole=True))
    val = world.gathered(Needs()).samples
    settings = {"epochs": 2, "batch": 2, "precision": "float32", "view": "images", "frozen": False}
    settings |= {"backbone_norm": "train", "augment": {"flip": True}, "lr": 1e-2}

    def run(**more):
        model = models.build(SLIM.name, SLIM.parameters, CLASSES, seed=1)
        return training.train(method, json.dumps(settings), model, data, 3, CLASSES, val, "best_val", **more)

    whole = run()
    state = training_state.load(training_state.save(state_after(run, stopped)), "state")  # as another process gets it
    resumed = run(state=state, acquisition_model="kept")
    assert (resumed.reported is None) == (whole.reported is None)
    assert resumed.history == whole.history
    assert resumed.losses == whole.losses
    assert resumed.kept_epoch == whole.kept_epoch
    for one, other in ((resumed.state, whole.state), (resumed.reported or {}, whole.reported or {})):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[key], other[key]) for key in one)
    assert resumed.artefacts.keys() == whole.artefacts.keys()


def test_every_methods_parameters_say_what_planner_and_trainer_ask():
    from tessera.training import TrainingParams

    assert all(issubclass(METHODS.entry(name).params, TrainingParams) for name in METHODS.names())


def test_purposes_do_not_shift_each_other():
    from tessera.training.phase import Feed, Phase
    from tessera.training.streams import Streams

    def drawn(feeds, purposes):
        phase = Phase()
        phase.samples, phase.batch, phase.feeds = 7, 3, feeds
        streams, seen = Streams(11, "second"), []
        for epoch in (1, 2):
            for at in streams.epoch(phase, epoch):
                for purpose in purposes:
                    at.draws(purpose).random(5)
                seen.append((at.index.tolist(), at.feeds["one"].tolist(), at.rng.random()))
        return seen

    feeds = {"one": Feed(5, 2)}
    alone = drawn(feeds, [])
    assert drawn({"other": Feed(9, 4), **feeds}, ["augmentation", "masks"]) == alone
    # A feed goes round all its rows before it begins again.
    rows = [row for _, feed, _ in alone for row in feed]
    assert all(sorted(rows[start : start + 5]) == list(range(5)) for start in range(0, len(rows) - 4, 5))


async def test_the_trainer_keeps_what_the_next_attempt_goes_on_from(world, toy):
    whole = await train(world.request(epochs=4, frozen=False, backbone_norm="train"), world)
    notes = len(world.notes)
    world.keeps = True
    await train(world.request(epochs=4, frozen=False, backbone_norm="train"), world)
    assert world.kept is not None  # after the last epoch, of which nothing is left to do but the end
    assert await train(world.request(epochs=4, frozen=False, backbone_norm="train"), world) == whole
    assert any("going on after epoch 4" in note for _, note in world.notes[notes:])
    world.kept = b"damaged"
    assert await train(world.request(epochs=4, frozen=False, backbone_norm="train"), world) == whole
    assert any("train from the start" in note or "not a safetensors file" in note for _, note in world.notes)


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (3.0, r"(loss cross_entropy became|weight .* is not finite)"),
        (10.0, r"(loss cross_entropy became|weight .* is not finite)"),
    ],
)
async def test_what_is_not_finite_stops_it_with_the_step_named_and_the_last_good_state_stays(world, lr, message):
    world.keeps = True
    settings = {"epochs": 60, "optimiser": "sgd", "lr": lr, "momentum": 0.99, "frozen": False}
    with pytest.raises(BadInput, match=rf"training: {message}.* epoch \d+, step \d of \d \(phase train\)"):
        await train(world.request("supervised", **settings), world)
    state = training_state.load(world.kept, "kept")
    assert len(state.history) >= 1
    assert all(np.isfinite(row.loss) for row in state.history)
