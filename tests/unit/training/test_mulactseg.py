"""MulActSeg: its losses and pseudo labels against loops written from the formulas; what a whole training does."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from memory_blobs import served
from tessera import models, training
from tessera.errors import BadInput
from tessera.pb.common_pb2 import AxisValue
from tessera.pb.trainer_pb2 import TrainRequest
from tessera.training import PartialSample, TrainingData
from tessera.training.augment import Augmentation
from tessera.training.methods.mulactseg import MulActSeg, losses, pseudo
from tessera.training.methods.mulactseg.regions import RegionSet
from unit.training.test_partial_answers import World as PartialWorld
from unit.training.test_partial_answers import some
from unit.training.test_seam import CLASSES, SLIM, World

train = served("trainer").train

pytestmark = pytest.mark.usefixtures("one_thread")

K = 5


@pytest.fixture
def pixels():
    """Log probabilities of 40 pixels of 6 regions: two of one class, three of several, one without any pixel."""
    torch.manual_seed(0)
    region = torch.tensor([0, 1, 2, 3, 4] * 8)[torch.randperm(40)]
    classes = torch.zeros(6, K, dtype=torch.bool)
    for row, named in enumerate([{1}, {4}, {0, 2}, {1, 3, 4}, {2, 3}, {0, 1}]):
        classes[row, list(named)] = True
    z = (torch.randn(40, K) * 2).requires_grad_()
    return z, region, classes


def by_hand(z, region, classes, kind, over, skip=()):
    """(single, several, prototypical) of Eq. 6, 7 and 9, or of the baselines, pixel by pixel."""
    p = z.detach().double().softmax(1).numpy()
    single, several, prototypes = {}, {}, {}
    for row, flags in enumerate(classes.numpy()):
        named, own = np.flatnonzero(flags), np.flatnonzero(region.numpy() == row)
        if len(own) == 0:
            continue
        if len(named) == 1:
            single[row] = [-math.log(p[x, named[0]]) for x in own]
            continue
        several[row] = []
        for x in own:
            total = sum(p[x, c] for c in named)
            several[row].append(
                {
                    "merged": -math.log(total),
                    "infimum": min(-math.log(p[x, c]) for c in named),
                    "rc": sum(p[x, c] / total * -math.log(p[x, c]) for c in named),
                }[kind]
            )
        if row not in skip:
            prototypes[row] = [-math.log(max(p[x, c] for x in own)) for c in named]

    def mean(found):
        if over == "batch":
            return float(np.mean([value for values in found.values() for value in values]))
        return float(np.mean([np.mean(values) for values in found.values()]))

    return mean(single), mean(several), mean(prototypes)


@pytest.mark.parametrize("over", ["batch", "regions"])
@pytest.mark.parametrize("kind", ["merged", "infimum", "rc"])
def test_losses_are_those_of_the_formulas(pixels, kind, over):
    z, region, classes = pixels
    params = MulActSeg(several=kind, means=over)
    got, counts = losses.partial_losses(z.log_softmax(1), region, classes, torch.ones(6), params)
    single, several, prototypical = by_hand(z, region, classes, kind, over)
    name = {"merged": "merged_positive", "infimum": "infimum", "rc": "risk_consistent"}[kind]
    expected = {"cross_entropy": 16 * single, name: 8 * several, "prototypical_pixel": prototypical}
    assert {key: value.item() for key, value in got.items()} == pytest.approx(expected, rel=1e-5)
    several = [row for row in range(5) if classes[row].sum() > 1]
    pixels_of = [int((region == row).sum()) for row in range(5)]
    if over == "batch":
        pairs = sum(int(classes[row].sum()) for row in several)
        number = {name: sum(pixels_of[row] for row in several), "prototypical_pixel": pairs}
    else:
        number = {name: len(several), "prototypical_pixel": len(several)}
    assert counts == {**number, "cross_entropy": len(z) - number[name] if over == "batch" else 5 - len(several)}


def test_one_class_makes_every_loss_of_a_pixel_its_cross_entropy(pixels):
    z, _, _ = pixels
    target = torch.arange(40) % K
    named = F.one_hot(target, K).bool()
    expected = F.cross_entropy(z, target, reduction="none")
    for loss in (losses.merged_positive, losses.infimum, losses.risk_consistent):
        assert torch.allclose(loss(z.log_softmax(1), named), expected, atol=1e-6)


def test_regions_of_one_class_take_neither_of_the_other_losses(pixels):
    z, region, classes = pixels
    one = region < 2
    got, _ = losses.partial_losses(z.log_softmax(1)[one], region[one], classes, torch.ones(6), MulActSeg())
    assert set(got) == {"cross_entropy"}


def test_the_gradient_of_prototypical_pixels_reaches_the_best_pixels_alone(pixels):
    z, region, classes = pixels
    classes = classes & (classes.sum(1) > 1)[:, None]
    values, owner = losses.prototypical_pixels(z.log_softmax(1), region, classes)
    values.sum().backward()
    p = z.detach().softmax(1)
    best = set()
    for row in range(5):
        own = (region == row).nonzero()[:, 0]
        best |= {int(own[p[own, c].argmax()]) for c in classes[row].nonzero()[:, 0]}
    assert set(z.grad.abs().sum(1).nonzero()[:, 0].tolist()) == best
    assert owner.tolist() == [2, 2, 3, 3, 3, 4, 4]  # region 5 has no pixel here


def test_of_equally_good_pixels_one_gets_the_gradient():
    z = torch.zeros(4, 3, requires_grad=True)
    classes = torch.tensor([[True, True, False]])
    values, _ = losses.prototypical_pixels(z.log_softmax(1), torch.zeros(4, dtype=torch.int64), classes)
    values.sum().backward()
    assert z.grad.abs().sum(1).nonzero()[:, 0].tolist() == [0]


def test_weights_of_risk_consistency_take_no_gradient(pixels):
    z, region, classes = pixels
    several = classes[region].sum(1) > 1
    named, log_p = classes[region][several], z.log_softmax(1)[several]
    losses.risk_consistent(log_p, named).sum().backward()
    got, z.grad = z.grad.clone(), None
    fixed = (z.detach().softmax(1)[several] * named).double()
    fixed = (fixed / fixed.sum(1, keepdim=True)).float()
    (-(fixed * z.log_softmax(1)[several])).sum().backward()
    assert torch.allclose(got, z.grad, atol=1e-6)


def test_a_region_that_a_crop_cuts_has_no_prototypical_pixels_unless_told_so(pixels):
    z, region, classes = pixels
    shown = torch.tensor([1.0, 0.1, 0.6, 1.0, 0.59, 1.0])
    log_p = z.log_softmax(1)
    for whole, skip in ((1.0, {2, 4}), (0.6, {4}), (0.0, set())):
        got, _ = losses.partial_losses(log_p, region, classes, shown, MulActSeg(whole=whole))
        expected = by_hand(z, region, classes, "merged", "batch", skip)
        assert got["prototypical_pixel"].item() == pytest.approx(expected[2], rel=1e-5)
        assert got["merged_positive"].item() == pytest.approx(8 * expected[1], rel=1e-5)


def test_weights_of_zero_leave_losses_out(pixels):
    z, region, classes = pixels
    for part, weight in (("cross_entropy", "single"), ("merged_positive", "several"),
                         ("prototypical_pixel", "prototypical")):  # fmt: skip
        params = MulActSeg(weights={weight: 0})
        got, _ = losses.partial_losses(z.log_softmax(1), region, classes, torch.ones(6), params)
        assert set(got) == {"cross_entropy", "merged_positive", "prototypical_pixel"} - {part}


def test_labelled_pixels_of_a_batch_are_found_mirrored_and_padded():
    rng = np.random.default_rng(1)
    first = rng.integers(0, 6, (5, 7)).astype(np.int32)
    second = rng.integers(0, 4, (4, 6)).astype(np.int32)
    made = [
        PartialSample(str(n), np.zeros((*one.shape, 3), np.uint8), one, np.array(asked), rng.random((2, 3)) < 0.5)
        for n, (one, asked) in enumerate(((first, [1, 4]), (second, [0, 3])))
    ]
    data = RegionSet(made, torch.device("cpu"), torch.float32)
    found = data.answered(np.array([1, 0]), np.array([True, False]))
    expected = {}
    for y in range(5):
        for x in range(7):
            if first[y, x] in (1, 4):
                expected[35 + y * 7 + x] = 2 + [1, 4].index(first[y, x])
            if y < 4 and x < 6 and second[y, 5 - x] in (0, 3):
                expected[y * 7 + x] = [0, 3].index(second[y, 5 - x])
    assert dict(zip(found.places.tolist(), found.region.tolist(), strict=True)) == expected
    assert found.classes.tolist() == [*made[1].classes.tolist(), *made[0].classes.tolist()]
    assert found.shown.tolist() == [1, 1, 1, 1]


def test_a_crop_shows_a_share_of_each_scaled_region():
    regions = np.kron(np.arange(4).reshape(2, 2), np.ones((8, 8))).astype(np.int32)
    one = PartialSample("a", np.zeros((16, 16, 3), np.uint8), regions, np.array([0, 1, 3]), np.eye(3, 4, dtype=bool))
    data = RegionSet([one], torch.device("cpu"), torch.float32)
    change = Augmentation((32, 32), (8, 0), (24, 24), flip=True)
    found = data.answered(np.array([0]), np.array([True]), [change])
    # Twice as large and mirrored, rows 8 to 31 and columns 0 to 23: the right half whole, the left half's inner part.
    assert found.size == (24, 24)
    assert found.shown.tolist() == pytest.approx([0.25, 0.5, 1.0])
    rows = np.full(24 * 24, -1)
    rows[found.places.numpy()] = found.region.numpy()
    expected = np.full((24, 24), -1)
    expected[:8, :16], expected[:8, 16:], expected[8:, :16] = 1, 0, 2
    assert np.array_equal(rows.reshape(24, 24), expected)


def test_scaled_and_cropped_images_train_repeatably():
    data = Answered().data(ROWS)
    settings = {"frozen": False, "augment": {"flip": True, "scale": [0.5, 2.0], "crop": [32, 32]}, "epochs": 3}
    one, two = fit(data, **settings), fit(data, **settings)
    assert all(np.array_equal(value, two.reported[key]) for key, value in one.reported.items())
    assert any(
        not np.array_equal(value, fit(data, frozen=False, epochs=3).state[key]) for key, value in one.state.items()
    )


class Answered(World):
    """Halves with answers for the class sets that a test says."""

    def data(self, rows):
        ledger = self.answers(rows)
        needs = MulActSeg().needs()
        return self.gathered(needs, ledger)


ROWS = [("im0", 0, [0]), ("im0", 1, [0, 1]), ("im1", 0, [0, 255]), ("im1", 1, [1])]


def fit(data, seed=7, val=None, policy="last", **params):
    settings = {"epochs": 2, "batch": 2, "precision": "float32", **params}
    model = models.build(SLIM.name, SLIM.parameters, CLASSES + 1, seed=1)
    return training.train("mulactseg", json.dumps(settings), model, data, seed, CLASSES, val, policy)


def planes(trained):
    return dict(trained.artefacts["pseudo_labels"].images)


def test_two_stages_leave_two_networks_and_the_pseudo_labels():
    world = Answered()
    one = fit(world.data(ROWS))
    assert one.reported is not None
    assert one.reported["head.classifier.weight"].shape[0] == CLASSES + 1
    assert not np.array_equal(one.reported["head.classifier.weight"], one.state["head.classifier.weight"])
    parts = {(part.phase, part.part) for part in one.losses}
    assert parts == {
        ("partial", "cross_entropy"), ("partial", "merged_positive"), ("partial", "prototypical_pixel"),
        ("pseudo", "cross_entropy"),
    }  # fmt: skip
    found = planes(one)
    assert list(found) == ["im0", "im1"]
    left = world.truth == 0
    assert (found["im0"]["classes"][left] == 0).all()
    assert (found["im0"]["provenance"][left] == pseudo.HUMAN).all()
    assert (found["im0"]["provenance"][~left] == pseudo.LOCALISED).all()
    assert set(np.unique(found["im0"]["classes"][~left])) <= {0, 1}
    assert set(np.unique(found["im1"]["classes"][left])) <= {0, CLASSES}


def test_training_repeats_bit_for_bit_and_follows_its_seed():
    data = Answered().data(ROWS)
    one, two, other = fit(data), fit(data), fit(data, seed=8)
    for role in ("state", "reported"):
        assert all(np.array_equal(v, getattr(two, role)[k]) for k, v in getattr(one, role).items())
        assert not all(np.array_equal(v, getattr(other, role)[k]) for k, v in getattr(one, role).items())


@pytest.mark.parametrize("change", [
    {"weights": {"several": 0}}, {"weights": {"prototypical": 0}}, {"weights": {"single": 0}},
    {"several": "infimum"}, {"several": "rc"},
])  # fmt: skip
def test_switches_of_stage_one_change_the_weights(change):
    data = Answered().data(ROWS)
    plain, changed = fit(data, pseudo=None), fit(data, pseudo=None, **change)
    assert plain.reported is None
    assert any(not np.array_equal(value, changed.state[key]) for key, value in plain.state.items())


def test_stage_two_leaves_stage_one_as_it_is():
    data = Answered().data(ROWS)
    alone, both = fit(data, pseudo=None), fit(data)
    assert all(np.array_equal(value, both.state[key]) for key, value in alone.state.items())


def test_expansion_labels_neighbours_without_an_answer():
    data = Answered().data([("im0", 1, [0, 1]), ("im1", 0, [0])])
    with_it, without = planes(fit(data)), planes(fit(data, pseudo={"expansion": "none"}))
    for name in ("im0", "im1"):
        answered = np.isin(without[name]["provenance"], (pseudo.HUMAN, pseudo.LOCALISED))
        assert (without[name]["classes"][~answered] == 255).all()
        assert np.array_equal(with_it[name]["classes"][answered], without[name]["classes"][answered])
        assert set(np.unique(with_it[name]["provenance"][~answered])) <= {pseudo.NONE, pseudo.EXPANDED}
    assert any((one["provenance"] == pseudo.EXPANDED).any() for one in with_it.values())


def trained_by_oracle(truths, **params):
    """A Train job on SEEDS superpixels, a third of which an oracle that sees ``truths`` was asked about."""
    world = PartialWorld()
    world.relabel(truths(world))
    ledger = world.asked("multi_class", some(world))
    settings = {"epochs": 1, "batch": 2, "precision": "float32", **params}
    request = TrainRequest(
        manifest=world.manifest,
        ledgers=[ledger],
        shards=[world.shard],
        architecture=SLIM,
        classes=CLASSES,
        training=AxisValue(name="mulactseg", parameters=json.dumps(settings)),
        checkpoint_policy="last",
        seed=3,
    )
    return world, request


async def test_regions_that_nobody_was_asked_about_teach_nothing():
    """Noise in place of every label outside the asked regions leaves every weight and pseudo label as it was."""
    answers = []
    for truths in (lambda world: world.truth, lambda world: world.noise_outside(some(world))):
        world, request = trained_by_oracle(truths)
        answers.append(await train(request, world))
    assert answers[0].reported.weights.sha256 != answers[0].model.weights.sha256
    assert answers[0] == answers[1]


async def test_means_over_regions_train_otherwise_where_regions_differ_in_size():
    made = []
    for means in ("batch", "regions"):
        world, request = trained_by_oracle(lambda world: world.truth, means=means, pseudo=None)
        made.append((await train(request, world)).model.weights.sha256)
    assert made[0] != made[1]


def test_the_data_set_has_one_output_less_than_the_network():
    data = Answered().data(ROWS)
    assert MulActSeg().trains_undefined()
    with pytest.raises(BadInput, match="no partial answers"):
        fit(TrainingData())
    val = [training.Sample(np.asarray(data.partial[0].image), np.zeros((32, 32), np.uint8))]
    best = fit(data, val=val, policy="best_val")
    measured = [row.val_miou for row in best.history]
    assert [math.isnan(value) for value in measured] == [False] * 4  # kept weights of stage 1 acquire here
