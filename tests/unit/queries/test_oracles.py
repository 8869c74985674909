"""Oracles that err: how often and how far, measured against what they promise; the same answer every time."""

import numpy as np
import pytest

from tessera.errors import BadInput
from tessera.queries import ORACLES, AnnotatedImage, ask
from tessera.regions import partition
from unit.queries.scenes import IGNORE, questions

CLASSES = 8


def striped(shown, regions=150, size=24):
    """One tall image: region r shows ``shown`` of the classes 0…7 as columns; the strip below has all of them."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(regions):
        classes = rng.choice(CLASSES, shown, replace=False)
        rows.append(np.repeat(np.tile(classes, (size, 1)), size // shown + 1, axis=1)[:, :size])
    labels = np.concatenate(rows).astype(np.uint8)
    region_map = np.repeat(np.arange(regions, dtype=np.int32), size)[:, None].repeat(size, 1)
    return labels, region_map


@pytest.mark.parametrize(("shown", "jaccard", "named"), [(1, 0.9597, 1.08), (2, 0.8714, 1.955), (3, 0.7152, 2.45)])
def test_missed_classes_meet_the_user_study(shown, jaccard, named):
    labels, regions = striped(shown)
    found, counts = [], []
    for seed in range(10):
        for question in questions(labels, regions, CLASSES):
            truth = set(ask(question, ("multi_class", {})).classes)
            assert len(truth) == shown
            answer = ask(question, ("multi_class", {}), ("missed_classes", {}), seed)
            said = set(answer.classes)
            found.append(len(truth & said) / len(truth | said))
            counts.append(len(said))
            assert answer.clicks == len(said) >= 1
            assert answer.seconds == ask(question, ("multi_class", {})).seconds, "the time is the region's"
            assert (answer.crop is None) == (len(said) > 1)
    error = 4 * np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found) - jaccard) < error
    assert abs(np.mean(counts) - named) < 4 * np.std(counts) / len(counts) ** 0.5


@pytest.mark.parametrize(("shown", "accuracy"), [(1, 0.9563), (2, 0.7205), (3, 0.6583)])
def test_dominant_accuracy_meets_the_user_study(shown, accuracy):
    labels, regions = striped(shown)
    right = []
    for seed in range(15):
        for question in questions(labels, regions, CLASSES):
            truth = ask(question, ("dominant", {}))
            answer = ask(question, ("dominant", {}), ("missed_classes", {}), seed)
            right.append(answer.classes == truth.classes)
            assert answer.clicks == 1
            if not right[-1] and shown > 1:
                assert answer.classes[0] in truth.visible, "mistaken for another class of the region"
    assert abs(np.mean(right) - accuracy) < 4 * np.std(right) / len(right) ** 0.5


def test_regions_of_more_classes_keep_the_rates_of_three():
    params = ORACLES.parameters("missed_classes", {})
    added, missed = params.rates(3)
    more = params.rates(6)
    assert more == pytest.approx((added, 2 * missed))
    # The equations that the rates solve.
    for n in (1, 2, 3):
        added, missed = params.rates(n)
        assert (n - missed) + added == pytest.approx(params.named[n - 1])
        assert (n - missed) / n * (1 - added / (n + 1)) == pytest.approx(params.jaccard[n - 1])


def test_a_region_that_shows_the_whole_image_has_nothing_wrong_to_name():
    labels = np.zeros((9, 9), np.uint8)
    question = questions(labels, np.zeros((9, 9), np.int32))[0]
    for seed in range(50):
        assert ask(question, ("multi_class", {}), ("missed_classes", {}), seed).classes == (0,)
        assert ask(question, ("dominant", {}), ("missed_classes", {}), seed).classes == (0,)


@pytest.mark.parametrize("query", ["multi_class", "dominant"])
def test_undefined_is_never_named_by_mistake(query):
    # Six regions of two classes each, and a seventh that is undefined.
    labels = np.zeros((70, 20), np.uint8)
    labels[:, 10:] = np.repeat(np.array([1, 2, 3, 4, 5, 6, 0], np.uint8), 10)[:, None]
    labels[60:] = IGNORE
    regions = np.repeat(np.arange(7, dtype=np.int32), 10)[:, None].repeat(20, 1)
    always_wrong = {"accuracy": (0.0, 0.0, 0.0)}
    named = 0
    for seed in range(60):
        for question in questions(labels, regions, CLASSES):
            truth = ask(question, (query, {"trim": 0}))
            answer = ask(question, (query, {"trim": 0}), ("missed_classes", always_wrong), seed)
            if IGNORE not in truth.classes:
                assert IGNORE not in answer.classes
            wrong = set(answer.classes) - set(truth.visible)
            named += len(wrong)
            assert wrong <= {0, 1, 2, 3, 4, 5, 6}
    assert named > 0


def test_missed_classes_refuse_pixelwise_queries_and_impossible_rates():
    question = questions(np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.int32))[0]
    with pytest.raises(BadInput, match="boundary_slips or confusion"):
        ask(question, ("mask", {}), ("missed_classes", {}))
    with pytest.raises(BadInput, match="cannot be met"):
        ORACLES.parameters("missed_classes", {"jaccard": (0.9, 0.2, 0.7)})
    with pytest.raises(BadInput, match="is not between 0 and 1"):
        ORACLES.parameters("missed_classes", {"accuracy": (1.2, 0.7, 0.6)})


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_edges_slip_by_a_normal_distance(sigma):
    size, edge = 96, 48
    labels = np.zeros((size, size), np.uint8)
    labels[:, edge:] = 1
    frame = AnnotatedImage("a", labels, np.zeros((size, size), np.int32))
    question = frame.question(0, (0, 0, size, size))
    moved = []
    for seed in range(150):
        crop = ask(question, ("mask", {}), ("boundary_slips", {"sigma": sigma, "spacing": 24}), seed).crop
        # Pixels of class 0 in a row: where the edge is now. Every 24th row: independent nodes.
        moved.append((crop == 0).sum(axis=1)[::24] - edge)
    moved = np.concatenate(moved)
    assert abs(moved.mean()) < 4 * sigma / len(moved) ** 0.5 + 0.1
    # Labels sit on whole pixels, which adds a twelfth of a square pixel.
    assert moved.std() == pytest.approx((sigma**2 + 1 / 12) ** 0.5, rel=0.12)


def test_slips_show_only_what_the_image_has_and_stay_inside_the_region():
    rng = np.random.default_rng(1)
    labels = np.kron(rng.integers(0, 4, (6, 6)), np.ones((10, 10))).astype(np.uint8)
    regions = partition("grid", {"rows": 3, "cols": 3}, labels.shape)
    for question in questions(labels, regions):
        answer = ask(question, ("mask", {}), ("boundary_slips", {}))
        assert answer.crop.shape == question.inside.shape
        assert set(np.unique(answer.crop)) <= {0, 1, 2, 3}
        still = ask(question, ("mask", {}), ("boundary_slips", {"sigma": 0}))
        assert (still.crop == ask(question, ("mask", {})).crop).all()


def test_confusion_happens_at_its_rate_and_spreads_evenly():
    labels, regions = striped(2)
    changed, taken = [], np.zeros(CLASSES)
    for seed in range(10):
        for question in questions(labels, regions, CLASSES):
            answer = ask(question, ("mask", {}), ("confusion", {"rate": 0.3}), seed)
            for label in question.classes():
                said = np.unique(answer.crop[question.truth == label])
                assert len(said) == 1, "all pixels of a class alike"
                changed.append(said[0] != label)
                if label == 0 and said[0]:
                    taken[said[0]] += 1
    assert abs(np.mean(changed) - 0.3) < 4 * np.std(changed) / len(changed) ** 0.5
    others = taken[1:]
    assert (abs(others - others.mean()) < 5 * others.mean() ** 0.5).all()


def test_confusion_follows_its_matrix_and_leaves_undefined_alone():
    matrix = np.eye(CLASSES)
    matrix[0] = [0.5, 0.2, 0.3, 0, 0, 0, 0, 0]
    labels = np.zeros((300, 8), np.uint8)
    labels[:, 5:] = IGNORE
    regions = np.repeat(np.arange(300, dtype=np.int32), 1)[:, None].repeat(8, 1)
    said = []
    for seed in range(10):
        for question in questions(labels, regions, CLASSES):
            answer = ask(question, ("mask", {}), ("confusion", {"matrix": matrix.tolist()}), seed)
            assert (answer.crop[0, 5:] == IGNORE).all()
            said.append(int(answer.crop[0, 0]))
    shares = np.bincount(said, minlength=CLASSES) / len(said)
    assert (abs(shares - matrix[0]) < 4 * (0.25 / len(said)) ** 0.5).all()


def test_a_matrix_must_be_of_the_classes():
    question = questions(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.int32), CLASSES)[0]
    with pytest.raises(BadInput, match="2 rows, the data set has 8"):
        ask(question, ("mask", {}), ("confusion", {"matrix": [[1, 0], [0, 1]]}))
    with pytest.raises(BadInput, match="row 1 is no distribution"):
        ORACLES.parameters("confusion", {"matrix": [[1, 0], [0.5, 0.4]]})
    with pytest.raises(BadInput, match="row 0 has 1 entries"):
        ORACLES.parameters("confusion", {"matrix": [[1], [0.5, 0.5]]})


@pytest.mark.parametrize(
    ("query", "oracle"),
    [("multi_class", "missed_classes"), ("mask", "boundary_slips"), ("mask", "confusion")],
)
def test_errors_depend_on_seed_image_and_region_alone(query, oracle):
    labels, regions = striped(3, regions=12)
    params = {"rate": 0.5} if oracle == "confusion" else {}

    def answers(image_id, seed, order):
        asked = questions(labels, regions, CLASSES, image_id)
        found = {index: ask(asked[index], (query, {}), (oracle, params), seed) for index in order}
        return [(found[index].classes, found[index].crop if query == "mask" else None) for index in range(12)]

    def text(found):
        return [(classes, None if crop is None else crop.tobytes()) for classes, crop in found]

    first = text(answers("a", 5, range(12)))
    assert first == text(answers("a", 5, range(11, -1, -1)))
    assert first != text(answers("a", 6, range(12)))
    assert first != text(answers("b", 5, range(12)))
