"""The words of a comparison: refused comparisons, and a method behind random is said to be so."""

import json

import pytest

from tessera.cli import compare
from tessera.errors import BadInput


def summary(recipe, seed, miou, **changes):
    rounds = [
        {
            "round": i,
            "regions_labelled": n,
            "regions_fraction": n / 100,
            "pixels_fraction": n / 100,
            "clicks": n,
            "labelling_seconds": 1.0,
        }
        | {"val": {"miou": m, "iou": [m]}, "test": {"miou": m - 0.01, "iou": [m]}}
        for i, (n, m) in enumerate(zip((10, 20, 30), miou, strict=True))
    ]
    mean = ((miou[0] + miou[1]) / 2 + (miou[1] + miou[2]) / 2) / 2
    stages = [{"name": "top", "by": "random_mean"}] if "random" in recipe else [{"name": "kmeans_plusplus"}]
    base = {
        "recipe": recipe,
        "seed": seed,
        "dataset": {"name": "street", "manifest_sha256": "a", "classes": ["road"]},
        "axes": {"selection": {"stages": stages}},
        "checkpoint_policy": "last",
        "auc": {"val": {"mean": mean}, "test": {"mean": mean - 0.01}},
        "wall_seconds": 1.0,
        "rounds": rounds,
    }
    return {**base, **changes}


RANDOM = [summary("street_random", 0, [0.2, 0.3, 0.4]), summary("street_random", 1, [0.2, 0.3, 0.5])]
MEAL = [summary("street_meal", 0, [0.2, 0.4, 0.6]), summary("street_meal", 1, [0.2, 0.4, 0.6])]


def text(*summaries):
    return "\n".join(compare.lines(list(summaries)))


def test_a_comparison_shows_methods_and_a_verdict():
    shown = text(*MEAL, *RANDOM)
    # Two seeds, differences .100 and .075: the interval of Student's t with one degree of freedom is wide.
    assert "street_meal cannot be told from street_random: +0.088 in mean test mIoU over the run" in shown
    assert "(95 % interval -0.071 to +0.246, which includes zero, 2 seeds)" in shown


@pytest.mark.parametrize(("change", "what"), [(0.1, "is ahead of"), (-0.1, "is behind")])
def test_the_verdict_says_when_a_method_is_ahead_or_behind(change, what):
    other = [summary("street_meal", seed, [0.2 + change, 0.3 + change, 0.4 + change]) for seed in (0, 1)]
    same = [summary("street_random", seed, [0.2, 0.3, 0.4]) for seed in (0, 1)]
    said = f"street_meal {what} street_random: {change:+.3f} in mean test mIoU over the run (95 % interval "
    assert f"{said}{change:+.3f} to" in text(*other, *same)


def test_one_seed_settles_nothing():
    assert "street_meal is ahead of street_random: +0.100" in text(MEAL[0], RANDOM[0])
    assert "a single seed proves nothing" in text(MEAL[0], RANDOM[0])


def test_what_rounds_to_zero_is_neither_ahead_nor_behind():
    other = summary("street_meal", 0, [0.2001, 0.3, 0.4])
    same = summary("street_random", 0, [0.2, 0.3, 0.4])
    assert "street_meal and street_random are equal: +0.000" in text(other, same)


@pytest.mark.parametrize(
    ("change", "what"),
    [({"dataset": {"name": "camvid"}}, "data set"), ({"checkpoint_policy": "best_val"}, "checkpoint policy")],
)
def test_runs_that_differ_in_split_or_policy_are_not_compared(change, what):
    with pytest.raises(BadInput, match=what):
        text({**MEAL[0], **change}, *RANDOM)


def test_a_split_nobody_measured():
    with pytest.raises(BadInput, match="no run was measured on 'train'"):
        compare.lines([*MEAL, *RANDOM], "train")


def test_reading_what_is_no_summary(tmp_path):
    with pytest.raises(BadInput, match=r"no summary\.json"):
        compare.read(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(BadInput, match="not JSON"):
        compare.read(tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps(MEAL[0]))
    assert compare.read(tmp_path)["seed"] == 0


def test_at_equal_cost_the_highest_curve_is_named():
    # Means of the curves from 10 to 30 clicks on test: (.19 + .39) / 4 + (.39 + .59) / 4 = .39, and .29, .315.
    shown = "\n".join(compare.lines([*MEAL, *RANDOM], over="clicks"))
    best = "street_meal has the highest mean test mIoU from 10 to 30 clicks: 0.390; street_random 0.302 (2 seeds)"
    assert shown.split("\n")[-1] == best


def test_no_recipe_is_called_the_best_where_curves_cannot_be_ranked():
    assert "highest" not in text(*MEAL, *RANDOM)  # each at its own rounds
    assert "highest" not in "\n".join(compare.lines([MEAL[0], *RANDOM], over="clicks"))  # other seeds
