"""Figures of a round's batch, against values computed by hand."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.loop import batch

SEQUENCES = {"a0": "a", "a1": "a", "b0": "b", "c": ""}


def ledger(regions, classes):
    images, ids = zip(*regions, strict=True) if regions else ((), ())
    return {"image_id": np.array(images, object), "region_id": np.array(ids, np.int32), "classes": classes}


def embedding(rows, points):
    points = np.asarray(points, np.float32)
    table = {"image_id": np.array([i for i, _ in rows], object), "region_id": np.array([r for _, r in rows], np.int32)}
    return table | {f"x{axis}": points[:, axis] for axis in range(points.shape[1])}


def test_figures_by_hand():
    rows = [("a0", 0), ("a0", 1), ("a1", 0), ("b0", 0), ("c", 5)]
    points = [(0, 0), (3, 4), (0, 10), (9, 9), (100, 100)]
    asked = [("a0", 1), ("a0", 0)]
    made = batch.figures(ledger(asked, [[0, 2], [2, 255]]), SEQUENCES, 4, embedding(rows, points), {("c", 5)})
    pool = np.array(points[:4], float)
    random = np.mean([np.linalg.norm(x - y) for x, y in itertools.combinations(pool, 2)])
    assert made.pop("distance") == {
        "inside": pytest.approx(5),
        "random": pytest.approx(random),
        "ratio": pytest.approx(5 / random),
        "candidates": 4,
        "dimensions": 2,
    }
    entropy = made.pop("class_entropy")
    assert entropy == pytest.approx(-(np.log(1 / 3) / 3 + 2 * np.log(2 / 3) / 3))
    assert made == {"regions": 2, "images": 1, "sequences": 1, "classes": 2}
    json.dumps(made)


def test_what_a_round_may_lack():
    alone = batch.figures(ledger([("c", 1)], [[]]), {"c": ""}, 4, embedding([("c", 1), ("c", 2)], [(0,), (1,)]))
    assert alone == {
        "regions": 1,
        "images": 1,
        "sequences": None,
        "classes": 0,
        "class_entropy": None,
        "distance": None,
    }
    nothing = batch.figures(ledger([], []), SEQUENCES, 4)
    assert nothing["regions"] == nothing["sequences"] == 0
    assert nothing["distance"] is None
    # Chosen regions that the table does not describe are left out.
    partly = batch.figures(ledger([("c", 1), ("a0", 9)], [[0], [0]]), SEQUENCES, 4, embedding([("c", 1)], [(0,)]))
    assert partly["distance"] is None


def test_more_than_ten_dimensions_are_read_in_order():
    points = np.arange(24).reshape(2, 12)
    assert (batch.points_of(embedding([("c", 0), ("c", 1)], points)) == points).all()


def test_places_of_chosen_and_earlier_regions():
    table = embedding([("a0", 0), ("a0", 1), ("b0", 0)], np.zeros((3, 2)))
    assert batch.places(table, {("b0", 0): 7}, {("a0", 1)}).tolist() == [-1, -2, 7]


@settings(deadline=None)
@given(st.data())
def test_places_against_a_dictionary(data):
    every = [(image, region) for image in ("a", "b", "b1", "c") for region in range(3)]
    some = st.lists(st.sampled_from(every), unique=True)
    rows, earlier = data.draw(some), data.draw(some)
    chosen = {region: rank for rank, region in enumerate(data.draw(some))}
    expected = [chosen.get(row, -2 if row in earlier else -1) for row in rows]
    table = embedding(rows, np.zeros((len(rows), 2)))
    assert batch.places(table, chosen, set(earlier)).tolist() == expected
