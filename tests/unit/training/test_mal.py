"""Minimax active learning: its losses against loops, who learns from which, and what a whole training leaves."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from memory_blobs import served
from tessera import models, training
from tessera.acquisition.interfaces import RegionImage
from tessera.acquisition.scoring.auxiliary_networks import Labeledness
from tessera.errors import BadInput
from tessera.formats import checkpoints, weights
from tessera.models.auxiliary import DiscriminatorParams
from tessera.models.classifiers import CosineClassifier
from tessera.models.predictor import Predictor
from tessera.pb.common_pb2 import AxisValue
from tessera.pb.trainer_pb2 import TrainRequest
from tessera.training import Sample, TrainingData, Unlabelled
from tessera.training.augment import Augmentation
from tessera.training.losses import entropy
from tessera.training.methods.mal import Mal
from tessera.training.methods.mal.phases import MinimaxPhase, labeledness_loss, reversed_before
from tessera.training.phase import Setup
from tessera.training.streams import Streams
from unit.training.test_partial_answers import World as PartialWorld
from unit.training.test_seam import CLASSES, SIZE, state_after

train = served("trainer").train

pytestmark = pytest.mark.usefixtures("one_thread")

COSINE = {"width": 0.125, "temperature": 0.05, "unit_prototypes": False}
SETTINGS = {"epochs": 2, "batch": 2, "precision": "float32", "lr": 1e-3, "augment": {"flip": True}}
SETTINGS |= {"discriminator": {"pool": 1, "lr": 1e-3}}


def network(name="deeplabv3plus_mobilenetv2", **changes):
    return models.build(name, json.dumps(COSINE | changes), CLASSES, seed=1)


def pool(labelled=4, unlabelled=6, dark=True, shapes=((SIZE, SIZE),)):
    """Halves of two classes; unlabelled images are darker, so that they can be told apart."""
    rng = np.random.default_rng(0)

    def image(row, shade):
        height, width = shapes[row % len(shapes)]
        truth = np.zeros((height, width), np.uint8)
        truth[:, width // 2 :] = 1
        noise = rng.integers(0, 60, (height, width, 3))
        return (truth[..., None] * 120 + noise + shade).astype(np.uint8), truth

    samples = [Sample(*image(row, 60), image_id=f"l{row}") for row in range(labelled)]
    others = [Unlabelled(f"u{row}", image(row, 0 if dark else 60)[0]) for row in range(unlabelled)]
    return TrainingData(samples=samples, unlabelled=others, whole=samples)


def trained(data=None, model=None, seed=3, method="mal", **changes):
    settings = SETTINGS | changes
    if method == "supervised":
        settings = {"view": "images", **{key: value for key, value in settings.items() if key != "discriminator"}}
    return training.train(method, json.dumps(settings), model or network(), data or pool(), seed, CLASSES)


def phase(data=None, model=None, **changes):
    made = model or network()
    setup = Setup(data or pool(), CLASSES, 3, torch.device("cpu"), lambda: made, lambda *_: None)
    torch.manual_seed(0)
    return MinimaxPhase(Mal.model_validate(SETTINGS | changes), setup)


def first_step(one):
    one.begin_epoch()
    return next(Streams(3, None).epoch(one, 1))


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def test_entropy_is_that_of_the_formula_over_the_pixels_shown():
    torch.manual_seed(0)
    z = torch.randn(2, 4, 3, 5) * 3
    shown = torch.rand(2, 3, 5) < 0.6
    values = []
    for n, y, x in shown.nonzero().tolist():
        total = sum(math.exp(z[n, c, y, x]) for c in range(4))
        p = [math.exp(z[n, c, y, x]) / total for c in range(4)]
        values.append(-sum(one * math.log(one) for one in p))
    assert float(entropy(z, shown)) == pytest.approx(np.mean(values), rel=1e-5)
    # Upsampled first, as the paper says: the entropy of interpolated scores, not interpolated entropies.
    full = torch.nn.functional.interpolate(z, (6, 10), mode="bilinear", align_corners=False)
    assert float(entropy(z, torch.ones(2, 6, 10, dtype=torch.bool))) == pytest.approx(float(entropy(full)), rel=1e-6)
    # A certain pixel has entropy 0 and a gradient.
    certain = torch.tensor([[[[900.0]], [[-900.0]]]], requires_grad=True)
    entropy(certain).backward()
    assert torch.isfinite(certain.grad).all()


def test_the_discriminators_loss_is_equation_3():
    torch.manual_seed(0)
    labelled, unlabelled = torch.randn(5) * 4, torch.randn(3) * 4
    expected = -np.mean([math.log(1 / (1 + math.exp(-z))) for z in labelled.tolist()])
    expected -= np.mean([math.log(1 - 1 / (1 + math.exp(-z))) for z in unlabelled.tolist()])
    assert float(labeledness_loss(labelled, unlabelled)) == pytest.approx(expected, rel=1e-5)


def test_prototypes_compare_unit_features_over_temperature():
    torch.manual_seed(0)
    classifier = CosineClassifier(6, 3, 0.05, unit_prototypes=False)
    f = torch.randn(1, 6, 2, 2)
    for y in range(2):
        for x in range(2):
            unit = f[0, :, y, x] / f[0, :, y, x].norm()
            expected = [float(classifier.weight[c, :, 0, 0].detach() @ unit) / 0.05 for c in range(3)]
            assert classifier(f)[0, :, y, x].tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("architecture", ["deeplabv3plus_mobilenetv2", "drn_d_22"])
@pytest.mark.parametrize("side", ["F", "C"])
def test_a_step_on_entropy_lowers_it_by_f_and_raises_it_by_c(architecture, side):
    made = network(architecture) if architecture.startswith("deeplab") else network(architecture, width=0.25)
    one = phase(model=made, frozen=False, discriminator=None)
    one.model.eval()  # the same function before and after: no dropout, no batch statistics
    at = first_step(one)
    one.model.eval()
    index, flip = at.feeds["unlabelled"], np.zeros(2, bool)

    def value():
        with torch.no_grad():
            return float(entropy(one.unlabelled.logits(index, flip), one.pool.shown(index)))

    before = value()
    updates = one.step(at)
    next(updates)
    one.model.eval()
    update = next(updates)
    assert set(update.losses) == {"negative_entropy"}
    assert float(update.losses["negative_entropy"].detach()) == pytest.approx(-0.1 * update.seen["entropy"], rel=1e-5)
    one.model.zero_grad()
    update.losses["negative_entropy"].backward()
    of_c = set(one.classifier.parameters())
    moved = [p for p in one.model.parameters() if (p in of_c) == (side == "C") and p.grad is not None]
    assert moved
    size = math.sqrt(sum(float((p.grad**2).sum()) for p in moved))
    with torch.no_grad():
        for p in moved:
            p -= 1e-3 / size * p.grad  # a step of gradient descent, of length .001
    assert (value() < before) == (side == "F")
    assert value() != before


def test_the_reversal_is_there_for_one_pass_only():
    one = phase(frozen=False)
    first_step(one)
    one.model.eval()
    index, flip = np.arange(2), np.zeros(2, bool)

    def gradient():
        one.model.zero_grad()
        one.unlabelled.logits(index, flip).sum().backward()
        return one.model.backbone.features[0][0].weight.grad.clone(), one.classifier.weight.grad.clone()

    plain = gradient()
    with reversed_before(one.classifier):
        turned = gradient()
    again = gradient()
    assert torch.allclose(turned[0], -plain[0], rtol=1e-3, atol=1e-6)
    assert torch.allclose(turned[1], plain[1])
    assert torch.equal(again[0], plain[0])


def test_the_discriminators_loss_moves_the_discriminator_alone():
    one = phase(frozen=False)
    updates = list(one.step(first_step(one)))
    assert [update.optimiser for update in updates] == ["model", "model", "discriminator"]
    one.model.zero_grad()
    updates[-1].losses["discriminator"].backward()
    assert all(p.grad is None for p in one.model.parameters())
    assert all(p.grad is not None for p in one.discriminator.parameters())
    moved = {id(p) for group in one.optimisers["discriminator"].param_groups for p in group["params"]}
    assert moved == {id(p) for p in one.discriminator.parameters()}
    assert one.model.head.training


def test_f_and_c_learn_the_same_with_and_without_a_discriminator():
    with_d, without = trained(), trained(discriminator=None)
    assert same(with_d.state, without.state)
    assert set(with_d.artefacts) == {"discriminator"}
    assert without.artefacts == {}


def test_labels_alone_are_supervised_training_bit_for_bit():
    alone = trained(entropy_weight=0.0)
    plain = trained(method="supervised")
    assert same(alone.state, plain.state)
    assert not same(trained().state, plain.state)


def test_without_unlabelled_images_only_cross_entropy_remains():
    got = trained(pool(unlabelled=0))
    assert same(got.state, trained(method="supervised", data=pool(unlabelled=0)).state)
    assert {part.part for part in got.losses} == {"cross_entropy"}


def test_history_names_every_part():
    parts = {(part.phase, part.part) for part in trained().losses}
    names = ("cross_entropy", "negative_entropy", "entropy", "discriminator", "called_labelled", "called_unlabelled")
    assert parts == {("minimax", name) for name in names} | {("task", "cross_entropy")}


@pytest.mark.parametrize(
    "change",
    [
        {"entropy_weight": 0.5},
        {"unlabelled_batch": 3},
        {"augment": {"flip": True, "scale": [0.5, 2.0], "crop": [SIZE, SIZE]}},
        {"task": {"start": "backbone"}},
        {"task": {"start": "pretrained"}},
        {"task": {"epochs": 1}},
        {"task": {"lr": 1e-4}},
    ],
)
def test_switches_change_what_they_should(change):
    base, other = trained(frozen=False), trained(frozen=False, **change)
    assert same(base.state, other.state) == ("task" in change)
    assert not same(base.reported, other.reported)


def test_the_task_network_starts_from_the_encoder_with_fresh_prototypes():
    from tessera.training.methods.mal.phases import TaskPhase

    first = phase(frozen=False)
    with torch.no_grad():
        for p in first.model.parameters():
            p += 0.01 * torch.randn_like(p)

    def start(kind):
        setup = Setup(pool(), CLASSES, 3, torch.device("cpu"), network, lambda *_: None)
        second = TaskPhase(
            Mal.model_validate(SETTINGS | {"frozen": False, "task": {"start": kind}}), setup, first.model
        )
        assert second.serves == {"reported": "model"}
        new, old = second.model.state_dict(), first.model.state_dict()
        return {name for name in new if new[name].dim() == 4 and torch.equal(new[name], old[name])}

    names = {name for name, one in first.model.state_dict().items() if one.dim() == 4}
    assert start("encoder") == names - {"head.classifier.weight"}
    assert start("backbone") == {name for name in names if name.startswith("backbone.")}
    assert start("pretrained") == set()


@pytest.mark.parametrize("frozen", [True, False])
def test_the_same_seed_repeats_and_another_does_not(frozen):
    first, again, other = trained(frozen=frozen), trained(frozen=frozen), trained(frozen=frozen, seed=4)
    for one in ("state", "reported"):
        assert same(getattr(first, one), getattr(again, one))
        assert not same(getattr(first, one), getattr(other, one))
    assert same(first.artefacts["discriminator"].arrays, again.artefacts["discriminator"].arrays)


@pytest.mark.parametrize("stopped", [1, 2, 3])
def test_a_training_goes_on_from_any_epoch(stopped):
    def run(**more):
        return training.train("mal", json.dumps(SETTINGS | {"frozen": False}), network(), pool(), 3, CLASSES, **more)

    whole = run()
    resumed = run(state=state_after(run, stopped))
    assert same(resumed.state, whole.state)
    assert same(resumed.reported, whole.reported)
    assert same(resumed.artefacts["discriminator"].arrays, whole.artefacts["discriminator"].arrays)
    assert resumed.losses == whole.losses


def judged(result, rgb):
    """What the score says of an image, from the artefact and the acquiring network as the store hands them out."""
    model = network()
    model.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in result.state.items()})
    score = Labeledness(DiscriminatorParams(pool=1), result.artefacts["discriminator"].arrays)
    height, width = rgb.shape[:2]
    box = np.array([[0, 0, height, width]], np.int32)
    return float(score(Predictor(model, dtype=torch.float32), RegionImage(rgb, np.zeros(1, np.int32), box))[0])


def test_the_score_reads_the_discriminator_and_finds_what_looks_unlabelled():
    data = pool(labelled=6, unlabelled=8)
    result = trained(data, epochs=12, entropy_weight=0.0, discriminator={"pool": 1, "lr": 5e-3})
    like_labelled = [judged(result, np.asarray(one.image)) for one in data.samples]
    others = [judged(result, np.asarray(one.image)) for one in data.unlabelled]
    assert min(like_labelled) > max(others)


def test_the_discriminator_sees_what_the_score_sees_and_no_padding():
    data = pool(shapes=((SIZE, SIZE), (SIZE - 16, SIZE)))
    one = phase(data, discriminator={"pool": 1, "lr": 1e-3})
    first_step(one)
    logits = one._judged(one.unlabelled, one.pool, np.arange(4), np.zeros(4, bool))
    state = {name: value.numpy() for name, value in one.model.state_dict().items()}
    arrays = {name: value.numpy() for name, value in one.discriminator.state_dict().items()}

    class Result:
        artefacts = {"discriminator": training.Tensors(arrays)}  # noqa: RUF012

    Result.state = state
    for row, value in enumerate(torch.sigmoid(logits.detach()).tolist()):
        if row % 2 == 0:  # not padded: the same map; what padding does to a map's border cells is the network's own
            assert judged(Result, np.asarray(data.unlabelled[row].image)) == pytest.approx(value, abs=2e-4)
    # Padding is of the mean colour; other padding changes nothing but what convolutions carry in from the border.
    shown = one.pool.shown(np.arange(2))
    changed = Augmentation((SIZE // 2, SIZE // 2), (-4, -2), (SIZE, SIZE))
    assert int(one.pool.shown(np.arange(1), [changed]).sum()) == (SIZE // 2) ** 2
    assert shown.sum(dim=(1, 2)).tolist() == [SIZE * SIZE, (SIZE - 16) * SIZE]


def test_a_linear_classifier_is_refused_by_name():
    plain = models.build("deeplabv3plus_mobilenetv2", '{"width": 0.125}', CLASSES)
    with pytest.raises(BadInput, match=r"model\.temperature"):
        trained(model=plain)


ASKED = [("im1", region) for region in (0, 3, 6)]


def asked_of_an_oracle(truths, **changes):
    """A Train job on two images; an oracle that sees ``truths`` was asked about some regions of the second."""
    world = PartialWorld()
    world.relabel(truths(world))
    request = TrainRequest(
        manifest=world.manifest,
        ledgers=[world.asked("mask", ASKED)],
        shards=[world.shard],
        architecture=AxisValue(name="deeplabv3plus_mobilenetv2", parameters=json.dumps(COSINE)),
        classes=CLASSES,
        training=AxisValue(name="mal", parameters=json.dumps(SETTINGS | changes)),
        checkpoint_policy="last",
        seed=3,
    )
    return world, request


async def test_labels_that_nobody_was_asked_for_teach_nothing():
    """Noise in place of every label outside the asked regions leaves every weight as it was, bit for bit."""
    answers = []
    for truths in (lambda world: world.truth, lambda world: world.noise_outside(ASKED)):
        world, request = asked_of_an_oracle(truths)
        answers.append(await train(request, world))
    assert answers[0] == answers[1]
    assert answers[0].reported.weights.sha256 != answers[0].model.weights.sha256
    extra = weights.load(world.objects[answers[0].extras["discriminator"].sha256], "discriminator")
    assert extra["convolutions.0.weight"].ndim == 4
    # The image without an answer is seen, as pixels.
    world, request = asked_of_an_oracle(lambda world: world.noise_outside(ASKED), entropy_weight=0.0)
    assert (await train(request, world)).model != answers[0].model


async def test_the_measured_network_may_have_another_classifier():
    """The reported model names its own architecture, and its weights fit that one strictly."""
    world, request = asked_of_an_oracle(lambda world: world.truth, task={"classifier": "linear"}, frozen=False)
    got = await train(request, world)
    assert got.model.architecture == request.architecture
    assert "temperature" not in json.loads(got.reported.architecture.parameters)  # null is left out
    for ref, kind in ((got.model, CosineClassifier), (got.reported, nn.Conv2d)):
        data = world.objects[ref.weights.sha256]
        made = checkpoints.build_model(ref.architecture, ref.classes, data, "weights")
        assert type(made.head.classifier) is kind
    # The network that acquires is the one of a training whose measured network has prototypes.
    world, request = asked_of_an_oracle(lambda world: world.truth, frozen=False)
    other = await train(request, world)
    assert other.model == got.model
    assert other.reported.architecture == request.architecture


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_trains_on_a_gpu():
    got = training.train("mal", json.dumps(SETTINGS | {"frozen": False}), network(), pool(), 3, CLASSES, device="cuda")
    assert all(np.isfinite(value).all() for value in got.reported.values())
    assert isinstance(network().head.classifier, nn.Conv2d)


def test_one_unlabelled_image_per_step_is_refused_before_anything_runs():
    """Of one image the pooled branch, and a map of 1×1, have one value, of which batch norm has no statistics."""
    with pytest.raises(BadInput, match=r"unlabelled_batch.*batch norm.*set 2 or more"):
        training.parameters("mal", {"unlabelled_batch": 1})
    assert training.parameters("mal", {"unlabelled_batch": 2}).unlabelled_batch == 2
