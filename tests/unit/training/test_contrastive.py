"""Contrastive training: its loss and its memory from their formulas, its ablations, and what continues after a stop."""

import copy
import json
import math
from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera import models, training
from tessera.errors import BadInput
from tessera.training import TrainingData, parameters
from tessera.training.memory_bank import MemoryBank, at_centres
from tessera.training.methods.contrastive import Contrastive
from tessera.training.methods.contrastive.info_nce import info_nce, negative_columns, pick_anchors
from tessera.training.phase import Setup
from tessera.training.streams import Streams
from unit.training.test_memory_bank import brute as hardest
from unit.training.test_training import samples

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = 3
SLIM = {"width": 0.125, "projection_head": 8, "dropout": 0.2}
QUICK = {
    "epochs": 3,
    "batch": 4,
    "precision": "float32",
    "lr": 0.01,
    "anchors": 10,
    "negatives": 16,
    "memory_bank": {"per_image": 3, "images": 4},
}


def network(**changes):
    return models.build("deeplabv3plus_mobilenetv2", json.dumps(SLIM | changes), CLASSES, seed=1)


def train(data=None, method="contrastive", model=None, seed=3, **changes):
    loop = {key: changes.pop(key) for key in ("state", "save", "device") if key in changes}
    given = (
        QUICK | changes if method == "contrastive" else {k: QUICK[k] for k in ("epochs", "batch", "precision", "lr")}
    )
    given |= {"view": "images"} | (changes if method != "contrastive" else {})
    return training.train(method, json.dumps(given), model or network(), data or samples(6), seed, CLASSES, **loop)


def same(one, two):
    return one.keys() == two.keys() and all(np.array_equal(one[key], two[key]) for key in one)


def parts(trained, name):
    return [part.value for part in trained.losses if part.part == name]


def bank_of(trained):
    return trained.artefacts["memory_bank"].arrays


# The loss


def units(rng, count, dimension=4):
    rows = rng.normal(size=(count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def formula(vectors, anchors, queues, params, rng):
    """Eq. 3, anchor by anchor, with the draws in the order in which the method draws."""
    terms = []
    for label, cells in anchors.items():
        others = [row for other, queue in enumerate(queues) if other != label for row in queue]
        if len(queues[label]) < params.memory_bank.per_image or not others:
            continue
        if params.positives == "class_mean":
            mean = [sum(column) / len(queues[label]) for column in zip(*queues[label], strict=True)]
            size = math.sqrt(sum(one * one for one in mean))
            positives = [[one / size for one in mean]]
        else:
            positives = [queues[label][place] for place in rng.permutation(len(queues[label]))[:512]]
        pool = max(1, math.ceil(params.nearest * len(others)))
        ranks = rng.permutation(pool)[: params.negatives // 2]
        drawn = rng.permutation(len(others))[: params.negatives - params.negatives // 2]
        for cell in cells:

            def dot(row, cell=cell):
                return math.fsum(float(a) * float(b) for a, b in zip(vectors[cell], row, strict=True))

            by_likeness = sorted(others, key=dot, reverse=True)
            negatives = [by_likeness[rank] for rank in ranks] + [others[place] for place in drawn]
            below = math.fsum(math.exp(dot(row) / params.temperature) for row in negatives)
            for row in positives:
                above = math.exp(dot(row) / params.temperature)
                terms.append(-math.log(above / (above + below)))
    # Anchors of a class have equally many positives; the mean over anchors is that of each anchor's mean.
    return terms


@pytest.mark.parametrize("positives", ["class_mean", "sample512"])
@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_its_formula(positives, seed):
    rng = np.random.default_rng(seed)
    params = Contrastive(positives=positives, negatives=9, nearest=0.3, memory_bank={"per_image": 4}, temperature=0.2)
    bank, queues = MemoryBank(4, 5, 4), []
    for label, count in enumerate((5, 3, 4, 7)):  # class 1 has too few; class 3 overflows
        rows = units(rng, count)
        bank.push(label, rows)
        queues.append(rows[-5:].tolist())
    vectors = torch.from_numpy(units(rng, 20)).requires_grad_()
    truth = rng.choice([0, 1, 2, 3, 255], 20).astype(np.uint8)
    anchors = pick_anchors(truth, rng.integers(0, 4, 20), 6, rng)
    loss = info_nce(vectors, anchors, bank, params, np.random.default_rng(9)).mean()
    expected = formula(vectors.detach().tolist(), anchors, queues, params, np.random.default_rng(9))
    if positives == "class_mean":
        assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)
    else:
        weights = [1 / len(queues[label]) for label, cells in anchors.items() if label != 1 for _ in cells
                   for _ in queues[label]]  # fmt: skip
        assert loss.item() == pytest.approx(np.average(expected, weights=weights), rel=1e-5)
    loss.backward()
    used = sorted(place for label, cells in anchors.items() if label != 1 for place in cells.tolist())
    assert np.flatnonzero(np.abs(vectors.grad.numpy()).sum(1)).tolist() == used


def test_the_loss_falls_when_an_anchor_turns_to_its_class():
    bank = MemoryBank(2, 10, 2)
    bank.push(0, np.array([[1, 0]] * 10, np.float32))
    bank.push(1, np.array([[0, 1]] * 10, np.float32))
    losses = [
        float(info_nce(torch.tensor([[math.cos(a), math.sin(a)]]), {0: np.array([0])}, bank, Contrastive(), rng))
        for a, rng in ((angle, np.random.default_rng(0)) for angle in (0.0, 0.7, 1.5))
    ]
    assert losses[0] < losses[1] < losses[2]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 80), st.integers(2, 12), st.integers(0, 999), st.sampled_from(["free", "right", "wrong"]))
def test_anchors_are_half_hard_of_their_own_class(count, wanted, seed, kind):
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 1, 2, 255], count).astype(np.uint8)
    predicted = {"free": rng.integers(0, 3, count), "right": truth % 255, "wrong": (truth + 1) % 3}[kind]
    found = pick_anchors(truth, predicted, wanted, rng)
    assert set(found) == set(truth.tolist()) - {255}  # class 0 as well
    for label, cells in found.items():
        there = np.flatnonzero(truth == label)
        assert len(set(cells.tolist())) == len(cells) == min(wanted, len(there))
        assert (truth[cells] == label).all()
        wrong = int((predicted[there] != label).sum())
        assert (predicted[cells] != label).sum() >= min(wanted // 2, wrong)
        assert (predicted[cells[: min(wanted // 2, wrong)]] != label).all()


def test_half_of_the_negatives_are_among_the_nearest_tenth():
    rng = np.random.default_rng(0)
    near = torch.from_numpy(rng.normal(size=(5, 400)).astype(np.float32))
    columns = negative_columns(near, 20, 0.1, rng)
    assert columns.shape == (5, 20)
    for row, chosen in zip(near, columns.tolist(), strict=True):
        nearest = set(row.argsort(descending=True)[:40].tolist())
        assert set(chosen[:10]) <= nearest
        assert len(set(chosen[:10])) == len(set(chosen[10:])) == 10
        assert not set(chosen[10:]) <= nearest
    few = negative_columns(near[:, :6], 20, 0.1, rng)
    assert few.shape == (5, 7)  # one nearest, and all six


# The phase, step by step


def phase_of(params, data):
    setup = Setup(
        data=TrainingData(samples=data),
        classes=CLASSES,
        seed=3,
        device=torch.device("cpu"),
        network=network,
        progress=lambda _fraction, _note: None,
    )
    (phase,) = training.METHODS.entry("contrastive").function(params, setup)
    return phase


@pytest.mark.parametrize("changes", [{}, {"frozen": False, "backbone_norm": "train"}])
def test_each_step_moves_teacher_and_bank_by_the_book(changes):
    params = parameters("contrastive", QUICK | {"augment": {"flip": True}, "teacher": 0.9, **changes})
    torch.manual_seed(3)
    phase = phase_of(params, samples(6))
    model, teacher = phase.modules["model"], phase.modules["teacher"]
    assert not any(one.requires_grad for one in teacher.parameters())
    expected = [deque(maxlen=12) for _ in range(CLASSES)]
    streams = Streams(3, None)
    for epoch in range(1, 4):
        phase.begin_epoch()
        assert model.head.training
        assert not teacher.training
        for at in streams.epoch(phase, epoch):
            before = copy.deepcopy(teacher.state_dict())
            replay = copy.deepcopy(at.rng)
            for update in phase.step(at):
                assert ("info_nce" in update.losses) == any(len(queue) >= 3 for queue in expected)
                sum(update.losses.values()).backward()
                phase.optimisers["model"].step()
                phase.optimisers["model"].zero_grad()
            student = model.state_dict()
            for name, value in teacher.state_dict().items():
                if value.is_floating_point():
                    assert torch.allclose(value, 0.9 * before[name] + 0.1 * student[name], atol=1e-6)
            flip = replay.random(len(at.index)) < 0.5
            maps = (
                phase.inputs.maps(at.index, flip)
                if params.frozen
                else teacher.features(phase.data.inputs(at.index, flip))
            )
            seen = teacher.head.taps(*maps, ("projection", "logits"))
            target = phase.data.target(at.index, flip).numpy()
            for row in range(len(at.index)):
                vectors = seen["projection"][row].detach().numpy()
                truth = at_centres(target[row], vectors.shape[1:])
                for label, cells in hardest(seen["logits"][row].detach().numpy(), truth, 3).items():
                    expected[label].extend(vectors.reshape(8, -1)[:, cell].tolist() for _, cell in cells)
    contents = phase.bank.contents()
    assert contents["classes"].tolist() == [label for label, queue in enumerate(expected) for _ in queue]
    assert len(set(contents["classes"].tolist())) > 1
    np.testing.assert_allclose(contents["vectors"], [row for queue in expected for row in queue], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(contents["vectors"], axis=1), 1, atol=1e-4)


def test_cross_entropy_leaves_the_projection_head_alone_and_contrast_reaches_the_decoder():
    params = parameters("contrastive", QUICK)
    phase = phase_of(params, samples(4))
    for label in range(CLASSES):
        phase.bank.push(label, units(np.random.default_rng(label), 12, 8))
    phase.begin_epoch()
    (at, *_) = Streams(3, None).epoch(phase, 1)
    update = next(phase.step(at))
    head = phase.modules["model"].head

    def reached(part):
        head.zero_grad()
        update.losses[part].backward(retain_graph=True)
        return {name.split(".")[0] for name, one in head.named_parameters() if one.grad is not None and one.grad.any()}

    assert "projection" not in reached("cross_entropy")
    assert reached("info_nce") >= {"projection", "fuse", "refine"}
    assert "classifier" not in reached("info_nce")
    assert all(one.grad is None for one in phase.modules["teacher"].parameters())


# Whole trainings


def test_training_repeats_and_leaves_a_teacher_and_a_bank():
    one, two = train(augment={"flip": True}), train(augment={"flip": True})
    assert same(one.state, two.state)
    assert same(one.features, two.features)
    assert same(bank_of(one), bank_of(two))
    assert not same(one.state, one.features)
    assert one.reported is None  # the acquiring network is measured
    assert len(parts(one, "info_nce")) >= 2
    assert parts(one, "bank")[-1] > parts(one, "bank")[0]
    assert not same(one.state, train(augment={"flip": True}, seed=4).state)


def test_without_contrast_it_is_supervised_training():
    plain = train(method="supervised")
    off = train(weight=0)
    assert same(off.state, plain.state)
    assert not parts(off, "info_nce")
    assert len(bank_of(off)["vectors"])
    assert same(train(weight=0, teacher=None, memory_bank={"tap": "decoder"}).state, plain.state)
    assert not same(train().state, plain.state)


def test_each_switch_changes_what_it_should():
    usual = train()
    without = train(teacher=None)
    assert without.features is None
    assert not same(bank_of(without), bank_of(usual))
    slow = train(teacher=0.999)
    assert not same(slow.features, usual.features)
    for change in ({"positives": "sample512"}, {"nearest": 1.0}, {"temperature": 0.5}, {"weight": 0.5}, {"anchors": 4}):
        assert not same(train(**change).state, usual.state), change


def test_a_bank_of_another_map_needs_no_contrast():
    with pytest.raises(BadInput, match=r"memory_bank\.tap decoder: the contrastive loss compares"):
        parameters("contrastive", {"memory_bank": {"tap": "decoder"}})
    bank = bank_of(train(weight=0, memory_bank={"tap": "decoder"}))
    assert bank["vectors"].shape[1] == 32
    with pytest.raises(BadInput, match=r"no projection map; set model\.projection_head: 128"):
        train(model=network(projection_head=None))


@pytest.mark.parametrize("stop", [1, 2])
def test_it_goes_on_from_any_epoch_with_teacher_and_bank(stop):
    saved = {}
    whole = train(augment={"flip": True}, save=lambda state: saved.update({state.epoch: copy.deepcopy(state)}))
    rest = train(augment={"flip": True}, state=saved[stop])
    assert same(rest.state, whole.state)
    assert same(rest.features, whole.features)
    assert same(bank_of(rest), bank_of(whole))
    assert rest.losses == whole.losses


def test_contrast_brings_pixels_of_a_class_together():
    data = samples(8)
    torch.manual_seed(0)
    near, far, bank = [], [], {"per_image": 10, "images": 10}
    for weight in (0.0, 1.0):
        made = train(data, weight=weight, epochs=10, negatives=64, teacher=0.5, memory_bank=bank)
        rows, labels = bank_of(made)["vectors"], bank_of(made)["classes"]
        cosine = rows @ rows.T
        alike = labels[:, None] == labels
        near.append(cosine[alike].mean())
        far.append(cosine[~alike].mean())
    assert near[1] - far[1] > near[0] - far[0] + 0.05


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_trains_on_a_gpu():
    made = train(device="cuda", frozen=False, backbone_norm="train", precision="bf16")
    assert np.isfinite([row.loss for row in made.history]).all()
    assert len(bank_of(made)["vectors"])


def test_changes_that_it_would_not_make_are_refused():
    with pytest.raises(BadInput, match="augment: the bank is filled from unchanged images"):
        training.parameters("contrastive", {"frozen": False, "augment": {"scale": [0.5, 2.0], "crop": [32, 32]}})
