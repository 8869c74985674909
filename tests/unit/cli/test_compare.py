"""Comparisons pair by seed, keep to common budgets, and say so when random wins."""

import json
import math

import pytest
from tessera.cli import compare
from tessera.errors import BadInput


def summary(recipe, seed, miou, regions=(10, 20, 30), **changes):
    rounds = [
        {"round": i, "regions_labelled": n, "regions_fraction": n / 100, "val": {"miou": m}, "test": {"miou": m - 0.01}}
        for i, (n, m) in enumerate(zip(regions, miou, strict=True))
    ]
    base = {
        "recipe": recipe,
        "seed": seed,
        "dataset": {"name": "street"},
        "checkpoint_policy": "last",
        "rounds": rounds,
    }
    return {**base, **changes}


RANDOM = [summary("street_random", 0, [0.2, 0.3, 0.4]), summary("street_random", 1, [0.2, 0.3, 0.5])]
MEAL = [summary("street_meal", 0, [0.2, 0.4, 0.6]), summary("street_meal", 1, [0.2, 0.4, 0.6])]


def test_differences_are_paired_by_seed_against_random():
    made = compare.compare([*MEAL, *RANDOM])
    assert made.baseline == "street_random"
    final = made.difference("street_meal", "final")
    assert final.values == pytest.approx({0: 0.2, 1: 0.1})
    # Two pairs: t(0.975, 1) = 12.706, standard deviation of (.2, .1) over sqrt(2) is .05.
    low, high = final.interval
    assert (low, high) == pytest.approx((0.15 - 12.7062 * 0.05, 0.15 + 12.7062 * 0.05), abs=1e-4)
    # Trapezoids by hand: seed 0 (.05+.1)... over a span of 20: ((.2+.4)/2+(.4+.6)/2)/2 - ((.2+.3)/2+(.3+.4)/2)/2.
    assert made.difference("street_meal", "area").values[0] == pytest.approx(0.4 - 0.3)


def test_only_common_budgets_count():
    longer = [summary("street_meal", seed, [0.2, 0.4, 0.9], regions=(10, 20, 60)) for seed in (0, 1)]
    made = compare.compare([*longer, *RANDOM])
    assert made.difference("street_meal", "final").values[0] == pytest.approx(0.1)


def test_no_common_budget_is_refused():
    other = [summary("street_meal", 0, [0.2, 0.4, 0.9], regions=(1, 2, 3))]
    with pytest.raises(BadInput, match="same number of labelled regions"):
        compare.compare([*other, *RANDOM]).difference("street_meal", "final")


def test_the_verdict_says_when_random_wins():
    worse = [summary("street_meal", seed, [0.1, 0.1, 0.1]) for seed in (0, 1)]
    text = "\n".join(compare.verdict(compare.compare([*worse, *RANDOM])))
    assert "street_random wins" in text
    assert "cannot settle" in "\n".join(compare.verdict(compare.compare([*MEAL, *RANDOM])))


def test_one_seed_has_no_interval():
    made = compare.compare([MEAL[0], RANDOM[0]])
    assert made.difference("street_meal", "final").interval is None
    assert "one seed, no interval" in "\n".join(compare.table(made))


@pytest.mark.parametrize(
    ("change", "what"),
    [({"dataset": {"name": "camvid"}}, "data set"), ({"checkpoint_policy": "best_val"}, "checkpoint policy")],
)
def test_runs_that_differ_in_split_or_policy_are_not_compared(change, what):
    with pytest.raises(BadInput, match=what):
        compare.compare([{**MEAL[0], **change}, *RANDOM])


def test_no_shared_seed_is_refused():
    with pytest.raises(BadInput, match="share no seed"):
        compare.compare([summary("street_meal", 7, [0.1, 0.2, 0.3]), *RANDOM])


def test_curve_and_table_show_every_method():
    made = compare.compare([*MEAL, *RANDOM])
    picture = "\n".join(compare.curve_text(made))
    assert "r street_random" in picture
    assert "m street_meal" in picture
    assert "val mIoU" in "\n".join(compare.table(made))
    assert all(math.isfinite(point.mean) for point in made.curve("street_meal"))


def test_reading_what_is_no_summary(tmp_path):
    with pytest.raises(BadInput, match=r"no summary\.json"):
        compare.read(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(BadInput, match="not JSON"):
        compare.read(tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps(MEAL[0]))
    assert compare.read(tmp_path)["seed"] == 0
