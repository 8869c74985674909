"""The memory bank: queues against plain lists, the choice of pixels against a sort, and the trainer that fills it."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.training import Sample
from tessera.training.memory_bank import MemoryBank, MemoryBankParams, collect, hardest_correct


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(1, 9), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=15))
def test_queues_are_first_in_first_out_and_wrap(classes, capacity, pushes):
    bank = MemoryBank(classes, capacity, 2)
    expected = [deque(maxlen=capacity) for _ in range(classes)]
    number = 0
    for label, count in pushes:
        label %= classes
        rows = np.array([[number + row, label] for row in range(count)], np.float32).reshape(count, 2)
        number += count
        bank.push(label, rows)
        expected[label].extend(rows.tolist())
    contents = bank.contents()
    assert contents["vectors"].tolist() == [row for queue in expected for row in queue]
    assert contents["classes"].tolist() == [label for label, queue in enumerate(expected) for _ in queue]
    assert (contents["vectors"][:, 1] == contents["classes"]).all()  # nothing under another class's name
    assert contents["vectors"].dtype == np.float32
    assert contents["classes"].dtype == np.int32


def brute(logits, truth, k):
    """The definition, pixel by pixel."""
    scored: dict[int, list[tuple[float, int]]] = {}
    for cell, label in enumerate(truth.ravel().tolist()):
        z = logits.reshape(len(logits), -1)[:, cell].astype(float).tolist()
        e = [math.exp(one - max(z)) for one in z]
        p = [one / sum(e) for one in e]
        if label != 255 and max(range(len(z)), key=lambda c: (z[c], -c)) == label:
            scored.setdefault(label, []).append((-sum(q * math.log(q) for q in p if q > 0), cell))
    return {label: sorted(one, key=lambda pair: (-pair[0], pair[1]))[:k] for label, one in scored.items()}


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 5), st.integers(1, 6), st.integers(1, 6), st.integers(1, 8), st.integers(0, 999), st.booleans())
def test_the_hardest_correct_pixels_are_chosen(classes, height, width, k, seed, ties):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(classes, height, width)).astype(np.float32)
    if ties:
        logits = np.round(logits)
    truth = rng.choice([*range(classes), 255], (height, width)).astype(np.uint8)
    expected = brute(logits, truth, k)
    found = hardest_correct(logits, truth, k)
    assert set(found) == set(expected)
    predicted = logits.reshape(classes, -1).argmax(axis=0)
    for label, cells in found.items():
        assert (predicted[cells] == label).all()
        assert (truth.ravel()[cells] == label).all()
        assert len(set(cells.tolist())) == len(cells) == len(expected[label])
        by_cell = dict((cell, entropy) for entropy, cell in brute(logits, truth, 10**6)[label])
        # Equal entropies may differ in the last bit between the two ways of summing.
        np.testing.assert_allclose([by_cell[cell] for cell in cells], [e for e, _ in expected[label]], rtol=1e-9)


def test_equally_hard_pixels_are_taken_in_reading_order():
    logits = np.zeros((2, 2, 3), np.float32)  # everything is class 0, at the same entropy
    assert hardest_correct(logits, np.zeros((2, 3), np.uint8), 4)[0].tolist() == [0, 1, 2, 3]
    assert hardest_correct(logits, np.ones((2, 3), np.uint8), 4) == {}


class Network:
    """A "predictor" of given maps: what an image is made of stands in its pixels."""

    def __init__(self, deep: bool) -> None:
        self.deep = deep

    def taps(self, rgb, names):
        logits = np.full((3, 8, 8), -1.0, np.float32)
        cells = rgb[2::4, 2::4, 0]
        np.put_along_axis(logits, cells[None].astype(np.int64), 1.0, axis=0)
        size = (2, 2) if self.deep else (8, 8)
        vectors = np.stack([np.full(size, float(rgb[0, 0, 1]), np.float32), np.arange(size[0] * size[1]).reshape(size)])
        return {name: logits if name == "logits" else vectors.astype(np.float32) for name in names}


@pytest.mark.parametrize("deep", [False, True])
def test_images_are_run_whole_in_order_and_the_newest_stay(deep):
    samples = []
    for index in range(5):
        rgb = np.zeros((32, 32, 3), np.uint8)
        rgb[..., 1] = index
        target = np.full((32, 32), 255, np.uint8)
        target[:16] = 0  # predicted 0 everywhere: right above, unlabelled or wrong below
        target[16:, :16] = 1
        samples.append(Sample(rgb, target))
    notes = []
    params = MemoryBankParams(tap="backbone" if deep else "decoder", per_image=2, images=2)
    bank = collect(Network(deep), samples, params, 3, lambda fraction, note: notes.append((fraction, note)))
    contents = bank.contents()
    assert contents["classes"].tolist() == [0] * 4
    assert contents["vectors"].tolist() == [[3, 0], [3, 1], [4, 0], [4, 1]]
    assert notes[-1] == (1.0, "memory bank: image 5/5")


def test_the_papers_sizes():
    params = MemoryBankParams()
    assert (params.per_image, params.images * params.per_image, params.tap) == (10, 1000, "projection")
