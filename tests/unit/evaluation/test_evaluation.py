"""Counts and reductions against loops written from the definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera import evaluation as ev
from tessera.errors import BadInput


def brute_confusion(truth, predicted, classes):
    matrix = np.zeros((classes, classes), np.int64)
    for t, p in zip(truth.ravel(), predicted.ravel(), strict=True):
        if t != 255:
            matrix[t, p] += 1
    return matrix


def brute_miou(truth, predicted, classes):
    """Mean over the classes in the truth of |truth ∩ prediction| / |truth ∪ prediction|, ignored pixels out of both."""
    seen = truth != 255
    values = []
    for c in range(classes):
        t, p = (truth == c) & seen, (predicted == c) & seen
        if t.any():
            values.append((t & p).sum() / (t | p).sum())
    return float(np.mean(values)) if values else math.nan


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), classes=st.integers(2, 7), ignored=st.floats(0, 1))
def test_counts_and_miou_equal_the_definitions(seed, classes, ignored):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, rng.integers(1, classes + 1), (9, 7)).astype(np.uint8)
    truth[rng.random(truth.shape) < ignored] = 255
    predicted = rng.integers(0, classes, truth.shape).astype(np.uint8)
    matrix = ev.confusion(truth, predicted, classes)
    assert np.array_equal(matrix, brute_confusion(truth, predicted, classes))
    tp, fp, fn = ev.sums(matrix)
    np.testing.assert_allclose(ev.miou(tp, fp, fn), brute_miou(truth, predicted, classes), equal_nan=True)
    if (truth != 255).any():
        assert ev.accuracy(tp, fn) == pytest.approx((truth == predicted)[truth != 255].mean())
    else:
        assert math.isnan(ev.accuracy(tp, fn))


def test_counts_add_up_over_shards():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, (2, 10, 8, 8))
    whole = ev.confusion(truth, predicted, 4)
    assert np.array_equal(sum(ev.confusion(t, p, 4) for t, p in zip(truth, predicted, strict=True)), whole)


def test_a_class_that_is_only_predicted_is_no_term_and_absent_ones_are_nan():
    truth = np.array([[0, 0, 1, 1]])
    predicted = np.array([[0, 2, 1, 1]])
    tp, fp, fn = ev.sums(ev.confusion(truth, predicted, 4))
    assert ev.miou(tp, fp, fn) == pytest.approx((0.5 + 1.0) / 2)
    per_class = ev.iou(tp, fp, fn)
    assert per_class[2] == 0.0
    assert math.isnan(per_class[3])


@pytest.mark.parametrize(("truth", "predicted", "word"), [([4], [0], "truth"), ([0], [4], "prediction")])
def test_classes_out_of_range_are_refused(truth, predicted, word):
    with pytest.raises(BadInput, match=f"{word} holds class 4"):
        ev.confusion(np.array(truth), np.array(predicted), 4)


def test_sizes_must_agree():
    with pytest.raises(BadInput, match="one size"):
        ev.confusion(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)


# Fully supervised rows of the study's tables: a constant curve has the area value × span.
@pytest.mark.parametrize(
    ("value", "span", "area"), [(68.42, 0.4, 27.37), (77.0, 0.2, 15.40), (77.0, 0.08, 6.16), (48.85, 0.08, 3.91)]
)
def test_auc_reproduces_the_published_constants(value, span, area):
    budgets = [0.02 + span * step / 4 for step in range(5)]
    assert round(ev.auc(budgets, [value] * 5), 2) == area


def test_auc_without_the_half_reproduces_table_5():
    step = 0.024916
    budgets = [step, 2 * step, 3 * step]
    assert round(ev.auc(budgets, [66.65] * 3, "no_half"), 2) == 6.64
    assert ev.auc(budgets, [66.65] * 3, "no_half") == pytest.approx(2 * ev.auc(budgets, [66.65] * 3))


def test_auc_of_uneven_steps_equals_the_formula():
    b, p = [0.1, 0.15, 0.4], [0.2, 0.5, 0.6]
    assert ev.auc(b, p) == pytest.approx((0.05 * 0.7 + 0.25 * 1.1) / 2)
    assert ev.auc([0.1], [0.5]) == 0.0
    for bad in ([0.2, 0.1], [0.1, 0.1]):
        with pytest.raises(BadInput, match="rise"):
            ev.auc(bad, [1, 2])
    with pytest.raises(BadInput, match="one value"):
        ev.auc([0.1], [0.5, 0.6])
    with pytest.raises(BadInput, match="convention"):
        ev.auc(b, p, "simpson")


def test_miou_at_interpolates_and_never_extrapolates():
    assert ev.miou_at([0.1, 0.3], [0.4, 0.6], 0.2) == pytest.approx(0.5)
    with pytest.raises(BadInput, match=r"mIoU@0\.31"):
        ev.miou_at([0.1, 0.3], [0.4, 0.6], 0.31)


def test_bootstrap_equals_resampling_in_a_loop():
    rng = np.random.default_rng(3)
    per_image = rng.integers(0, 50, (12, 3, 3))
    result = ev.bootstrap_miou(per_image, np.random.default_rng(0), resamples=4000)
    tp, fp, fn = ev.sums(per_image.sum(0))
    assert result.value == pytest.approx(ev.miou(tp, fp, fn))
    loop = [ev.miou(*ev.sums(per_image[rng.integers(0, 12, 12)].sum(0))) for _ in range(4000)]
    low, high = np.quantile(loop, [0.025, 0.975])
    assert result.low == pytest.approx(low, abs=0.005)
    assert result.high == pytest.approx(high, abs=0.005)
    assert result == ev.bootstrap_miou(per_image, np.random.default_rng(0), resamples=4000)


def test_bootstrap_of_one_image_has_no_width():
    one = ev.bootstrap_miou(np.array([[[5, 1], [2, 8]]]), np.random.default_rng(0), 50)
    assert one.low == one.value == one.high
    with pytest.raises(BadInput, match="bootstrap"):
        ev.bootstrap_miou(np.zeros((0, 2, 2), np.int64), np.random.default_rng(0))


@pytest.mark.parametrize("count", [2, 3, 5, 11, 21, 31, 61])
def test_intervals_are_those_of_students_t(count):
    from scipy import stats

    values = np.random.default_rng(count).normal(size=count).tolist()
    mean, interval = ev.mean_and_interval(values)
    assert mean == pytest.approx(np.mean(values))
    expected = stats.t.interval(0.95, count - 1, loc=np.mean(values), scale=stats.sem(values))
    assert interval == pytest.approx(expected, abs=1e-3)


def test_an_interval_between_the_entries_is_wider_and_one_value_has_none():
    from scipy import stats

    values = np.random.default_rng(0).normal(size=46).tolist()
    low, high = stats.t.interval(0.95, 45, loc=np.mean(values), scale=stats.sem(values))
    _, interval = ev.mean_and_interval(values)
    assert interval[0] < low < high < interval[1]
    assert ev.mean_and_interval([0.5]) == (0.5, None)
