"""The loop: repeatable, leaves a frozen backbone alone, survives odd sizes and batches, and says what went wrong."""

import json

import numpy as np
import pytest
import torch

from tessera import evaluation as ev
from tessera import models, training
from tessera.errors import BadInput
from tessera.models.aspp import AtrousConv2d
from tessera.models.predictor import Predictor
from tessera.models.upsample import predict
from tessera.training import Sample, frozen
from tessera.training.data import SampleSet, WindowSet
from tessera.training.frozen import FrozenMaps
from tessera.training.losses import cross_entropy
from tessera.training.params import Schedule
from tessera.training.streams import batches

NAME = "deeplabv3plus_mobilenetv2"


pytestmark = pytest.mark.usefixtures("one_thread")


def network(seed=1):
    return models.build(NAME, json.dumps({"width": 0.125}), 3, seed=seed)


def samples(count, seed=0, size=(33, 47)):
    """Three classes that colour tells apart, and some ignored pixels."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        target = np.repeat(np.repeat(rng.integers(0, 3, (6, 8)), 16, 0), 16, 1)[: size[0], : size[1]].astype(np.uint8)
        image = np.eye(3, dtype=np.float64)[target] * 150 + rng.uniform(0, 60, (*size, 3))
        target[rng.random(target.shape) < 0.1] = 255
        out.append(Sample(image.astype(np.uint8), target))
    return out


def train(data, model=None, seed=3, val=None, policy="last", progress=None, **params):
    settings = {"epochs": 2, "batch": 4} | params
    model = model or network()
    return training.train("supervised", json.dumps(settings), model, data, seed, 3, val, policy, progress)


def same(one, two):
    return all(np.array_equal(one.state[key], two.state[key]) for key in one.state)


@pytest.mark.parametrize("params", [{}, {"frozen": False, "backbone_norm": "train", "augment": {"flip": True}}])
def test_training_repeats_bit_for_bit(params):
    data = samples(6)
    torch.manual_seed(0)
    one = train(data, **params)
    torch.manual_seed(99)
    two, other = train(data, **params), train(data, seed=4, **params)
    assert same(one, two)
    assert one.history == two.history or str(one.history) == str(two.history)
    assert not same(one, other)


def test_training_leaves_torchs_random_state_alone():
    before = torch.random.get_rng_state()
    train(samples(3))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_frozen_backbone_gets_no_gradient_and_keeps_its_statistics():
    model = network()
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    trained = train(samples(5), model)
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert all(np.array_equal(trained.state[f"backbone.{key}"], value.numpy()) for key, value in before.items())


def test_fine_tuning_moves_weights_and_statistics_only_under_train_norm():
    for norm in ("eval", "train"):
        model = network()
        before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
        after = train(samples(5), model, frozen=False, backbone_norm=norm).state
        changed = {key for key, value in before.items() if not np.array_equal(after[f"backbone.{key}"], value.numpy())}
        assert "features.0.0.weight" in changed
        assert ("features.0.1.running_mean" in changed) == (norm == "train")


def test_the_head_starts_anew_from_the_seed():
    data, used = samples(4), network()
    train(data, used, seed=9)
    assert same(train(data, network()), train(data, used))


def test_caching_maps_changes_only_their_rounding():
    data = samples(6)
    with_cache = train(data, precision="float32", epochs=1, batch=8)
    without = train(data, precision="float32", epochs=1, batch=8, cache_features=False)
    assert with_cache.history[0].loss == pytest.approx(without.history[0].loss, rel=1e-2)


def test_it_learns():
    data = samples(12)
    model = network()
    trained = train(data, model, frozen=False, backbone_norm="train", epochs=15, lr=3e-3, precision="float32")
    assert trained.history[-1].loss < 0.7 * trained.history[0].loss


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_last_batches_of_one_sample_do_not_break_batch_norm(count):
    assert np.isfinite(train(samples(count), epochs=1).history[0].loss)


def test_batches_hold_every_sample_once_and_never_one():
    for count in range(2, 40):
        parts = batches(count, 4, np.random.default_rng(0))
        assert sorted(np.concatenate(parts)) == list(range(count))
        assert min(map(len, parts)) >= 2
        assert max(map(len, parts)) <= 5
    assert [list(part) for part in batches(1, 4, np.random.default_rng(0))] == [[0, 0]]


def test_samples_of_different_sizes_are_padded_with_ignored_pixels():
    mixed = samples(3) + samples(2, 1, (20, 31))
    assert np.isfinite(train(mixed, augment={"flip": True}).history[-1].loss)


def boxed(flip=False):
    """One whole image with four boxes, and the same mirrored with its boxes mirrored."""
    whole = samples(1, 5, (90, 120))[0]
    image, target = (whole.image[:, ::-1], whole.target[:, ::-1]) if flip else (whole.image, whole.target)
    boxes = [(0, 0, 30, 40), (31, 50, 61, 90), (60, 80, 90, 120), (7, 3, 33, 43)]
    if flip:
        boxes = [(y0, 120 - x1, y1, 120 - x0) for y0, x0, y1, x1 in boxes]
    return [Sample(image, target[y0:y1, x0:x1], (y0, x0, y1, x1)) for y0, x0, y1, x1 in boxes]


def test_windows_hold_the_labels_at_their_place_and_the_whole_images_maps():
    model = network().eval()
    predictor = Predictor(model, dtype=torch.float32)
    data = boxed()
    windows = WindowSet(data, torch.device("cpu"), torch.float32)
    maps = FrozenMaps(windows, predictor, True, True)
    index, plain = np.arange(4), np.zeros(4, bool)
    target = windows.target(index, plain).numpy()
    low, high = maps(index, plain)
    assert target.shape[1:] == (4 * low.shape[2], 4 * low.shape[3])
    full_low, full_high = predictor.maps(windows.whole(0, False))
    whole = np.full((96, 128), 255, np.uint8)
    for row, sample in enumerate(data):
        y0, x0, y1, x1 = sample.box
        whole[:] = 255
        whole[y0:y1, x0:x1] = sample.target
        below, right = windows.low_start(row, False)
        cut = whole[4 * below : 4 * below + target.shape[1], 4 * right : 4 * right + target.shape[2]]
        assert np.array_equal(target[row], cut)
        assert np.count_nonzero(target[row] != 255) == np.count_nonzero(sample.target != 255)
        top, left = windows.start(row, False)
        assert windows.offsets(index, plain)[row] == (below - 4 * top, right - 4 * left)
        expected = full_high[0, :, top : top + high.shape[2], left : left + high.shape[3]]
        assert torch.allclose(high[row], expected, rtol=2e-3, atol=2e-3)
        expected = full_low[0, :, below : below + low.shape[2], right : right + low.shape[3]]
        assert torch.allclose(low[row], expected, rtol=2e-3, atol=2e-3)


def test_a_mirrored_window_is_the_window_of_the_mirrored_image():
    model = network().eval()
    predictor = Predictor(model, dtype=torch.float32)
    flipped = WindowSet(boxed(), torch.device("cpu"), torch.float32)
    mirrored = WindowSet(boxed(True), torch.device("cpu"), torch.float32)
    index, yes, no = np.arange(4), np.ones(4, bool), np.zeros(4, bool)
    assert torch.equal(flipped.target(index, yes), mirrored.target(index, no))
    assert not torch.equal(flipped.target(index, yes), flipped.target(index, no))
    one, other = FrozenMaps(flipped, predictor, True, True), FrozenMaps(mirrored, predictor, True, True)
    for left, right in zip(one(index, yes), other(index, no), strict=True):
        assert torch.equal(left, right)


def test_inside_a_window_the_head_computes_what_it_computes_on_the_whole_image():
    """Apart from the image pool, which is local by design, and from the rims of the window."""
    tile = samples(1, 5, (88, 104))[0]
    whole = Sample(np.tile(tile.image, (2, 2, 1)), np.tile(tile.target, (2, 2)))
    boxes = [(0, 0, 60, 60), (52, 36, 112, 96), (116, 148, 176, 208), (60, 44, 120, 104), (8, 100, 68, 160)]
    data = [Sample(whole.image, whole.target[y0:y1, x0:x1], (y0, x0, y1, x1)) for y0, x0, y1, x1 in boxes]
    model = network().eval()
    predictor = Predictor(model, dtype=torch.float32)
    windows = WindowSet(data, torch.device("cpu"), torch.float32)
    index, plain = np.arange(len(data)), np.zeros(len(data), bool)
    low, high = FrozenMaps(windows, predictor, False, True)(index, plain)
    model.head.trained_on(*high.shape[2:])
    assert all(conv.cut.all() for conv in model.head.modules() if isinstance(conv, AtrousConv2d))
    offsets = windows.offsets(index, plain)
    assert len(set(offsets)) > 3
    with torch.inference_mode():
        project = model.head.aspp.project[0].weight
        project[:, -model.head.aspp.pool[0].out_channels :] = 0.0
        on_whole = model.head(*predictor.maps(windows.whole(0, False)))
        on_windows = model.head(low, high, offsets)
    spread = float(on_whole.std())
    for row, (down, across) in enumerate(offsets):
        top, left = windows.low_start(row, False)
        # Two 3×3 convolutions from the rim of the low window, and from the last cell of the high one.
        bottom = min(low.shape[2], 4 * (high.shape[2] - 1) - down + 1) - 2
        right = min(low.shape[3], 4 * (high.shape[3] - 1) - across + 1) - 2
        assert min(bottom, right) >= 8
        expected = on_whole[0, :, top + 2 : top + bottom, left + 2 : left + right]
        got = on_windows[row, :, 2:bottom, 2:right]
        assert float((got - expected).abs().max()) < 0.01 * spread
        # One cell off would be seen.
        shifted = on_whole[0, :, top + 3 : top + bottom + 1, left + 2 : left + right]
        assert float((got - shifted).abs().max()) > 0.1 * spread


@pytest.fixture
def counted(monkeypatch):
    """Grows by one for every input put through a backbone; no maps are kept before and after."""
    frozen._kept.clear()
    seen, plain = [], Predictor.maps
    monkeypatch.setattr(Predictor, "maps", lambda self, rgb: seen.extend(rgb) or plain(self, rgb))
    yield seen
    frozen._kept.clear()


def test_maps_are_kept_for_the_next_training_with_the_same_backbone(counted):
    def maps(model_seed):
        windows = WindowSet(boxed(), torch.device("cpu"), torch.float32)
        before = len(counted)
        made = FrozenMaps(windows, Predictor(network(model_seed), dtype=torch.float32), False, True)
        return len(counted) - before, *made(np.arange(4), np.zeros(4, bool))

    # Two looks at the shapes of maps, and the image that the four windows lie in.
    (first, *one), (second, *two), (other, *three) = maps(1), maps(1), maps(2)
    assert (first, second, other) == (3, 2, 3)
    assert all(torch.equal(left, right) for left, right in zip(one, two, strict=True))
    assert not torch.equal(one[1], three[1])
    assert frozen._kept.bytes <= 256 << 20


@pytest.mark.parametrize("kind", [SampleSet, WindowSet])
def test_maps_beyond_the_bound_are_computed_anew_and_differ_in_rounding_only(counted, monkeypatch, kind):
    data = boxed() if kind is WindowSet else samples(4) + samples(1, 1, (20, 31))
    given = kind(data, torch.device("cpu"), torch.float32)
    predictor = Predictor(network().eval(), dtype=torch.float32)
    index, flip = np.array([2, 0, 2, 3]), np.array([False, True, True, False])
    expected = FrozenMaps(given, predictor, True, True)(index, flip)
    monkeypatch.setattr(frozen, "_CACHE_BYTES", 0)
    beyond = FrozenMaps(given, predictor, True, True)
    before = len(counted)
    for left, right in zip(beyond(index, flip), expected, strict=True):
        assert left.shape == right.shape
        assert torch.allclose(left, right, rtol=2e-3, atol=2e-3)
    assert len(counted) == before + 4


def test_windows_train_and_need_a_frozen_backbone():
    assert np.isfinite(train(boxed(), view="windows", augment={"flip": True}).history[-1].loss)
    with pytest.raises(BadInput, match="frozen"):
        train(boxed(), view="windows", frozen=False)
    with pytest.raises(BadInput, match="box"):
        train([Sample(boxed()[0].image, boxed()[0].target, (0, 0, 99, 99))], view="windows")


def test_best_val_keeps_the_first_best_epoch_and_measures_as_the_evaluator():
    data, val = samples(8), samples(3, 7)
    model = network()
    trained = train(data, model, val=val, policy="best_val", epochs=4, precision="float32")
    scores = [row.val_miou for row in trained.history]
    assert trained.kept_epoch == int(np.argmax(scores)) + 1
    model.load_state_dict({key: torch.from_numpy(value) for key, value in trained.state.items()})
    predictor = Predictor(model, dtype=torch.float32)
    matrix = sum(ev.confusion(s.target, predict(predictor.logits(s.image), s.target.shape), 3) for s in val)
    # The validator reads maps cached as float16, which moves a pixel here and there.
    assert ev.miou(*ev.sums(matrix)) == pytest.approx(max(scores), abs=0.01)


def test_last_does_not_look_at_val_and_reports_progress():
    seen = []
    trained = train(samples(4), epochs=3, progress=lambda fraction, note: seen.append((fraction, note)))
    assert [row.epoch for row in trained.history] == [1, 2, 3]
    assert all(np.isnan(row.val_miou) for row in trained.history)
    assert trained.kept_epoch == 3
    assert [fraction for fraction, _ in seen] == pytest.approx([1 / 3, 2 / 3, 1])
    assert "epoch 3/3" in seen[-1][1]


def test_divergence_names_the_epoch_and_the_remedy():
    model = network()
    with torch.no_grad():
        model.backbone.features[0][0].weight.fill_(torch.inf)
    with pytest.raises(
        BadInput, match=r"cross_entropy became nan in epoch 1, step 1 of 1 .*lower training\.lr \(now 0\.001\)"
    ):
        train(samples(4), model, precision="float32")


def bad(target=None, image=None):
    good = samples(1)[0]
    return Sample(good.image if image is None else image, good.target if target is None else target)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "no samples"),
        ([bad(target=np.full((33, 47), 3, np.uint8))], "class 3 of 3"),
        ([bad(target=np.zeros((30, 47), np.uint8))], "differ"),
        ([bad(target=np.full((33, 47), 255, np.uint8))], "ignored"),
    ],
)
def test_unusable_samples_are_named(data, words):
    with pytest.raises(BadInput, match=words):
        train(data)


def test_policies_are_checked():
    with pytest.raises(BadInput, match="validation: no samples"):
        train(samples(2), policy="best_val")
    with pytest.raises(BadInput, match="best_test"):
        train(samples(2), policy="best_test")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"epoch": 3}, "did you mean epochs"),
        ({"frozen": True, "backbone_norm": "train"}, "frozen backbone"),
        ({"batch": 1}, "batch"),
        ({"schedule": {"name": "cosine"}}, "schedule"),
    ],
)
def test_wrong_parameters_are_named(params, words):
    with pytest.raises(BadInput, match=words):
        training.METHODS.canonical("supervised", params)


def test_schedules():
    step = Schedule(name="step", every=20, gamma=0.1)
    assert [step.factor(epoch, 5, 10, 60) for epoch in (0, 19, 20, 40)] == pytest.approx([1, 1, 0.1, 0.01])
    poly = Schedule(name="poly", power=0.9)
    assert poly.factor(3, 5, 10, 10) == pytest.approx((1 - 35 / 100) ** 0.9)
    assert Schedule().factor(9, 9, 10, 10) == 1.0


def test_cross_entropy_equals_the_formula_pixel_by_pixel():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, 6, generator=generator, dtype=torch.float32)
    target = torch.randint(0, 4, (2, 5, 6), generator=generator, dtype=torch.uint8)
    target[0, 0, :3] = 255
    terms = []
    for n in range(2):
        for y in range(5):
            for x in range(6):
                if target[n, y, x] != 255:
                    z = logits[n, :, y, x].double()
                    terms.append(float(torch.log(torch.exp(z).sum()) - z[int(target[n, y, x])]))
    assert float(cross_entropy(logits, target)) == pytest.approx(np.mean(terms), rel=1e-5)


def test_cross_entropy_of_a_batch_without_labels_is_zero_with_zero_gradient():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = cross_entropy(logits, torch.full((1, 8, 8), 255, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0.0
    assert float(logits.grad.abs().max()) == 0.0
