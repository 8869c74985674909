"""Runs that end before their budget: by val, at the round that says so, and never by test."""

from __future__ import annotations

import pytest

from tessera.errors import BadInput
from tessera.loop import plan
from tessera.loop.reading import from_canonical
from unit.loop.simulator import World, load, spec_of, walk


class Learning(World):
    """A world whose models have these mIoUs on val, round after round; test says 1 always."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values, self.models = values, []

    def _evaluate(self, request):
        response = super()._evaluate(request)
        key = request.model.weights.sha256
        if key not in self.models:
            self.models.append(key)
        value = self.values[self.models.index(key)] if request.images.split == "val" else 1.0
        images = request.images.end - request.images.start
        del response.true_positives[:], response.false_positives[:], response.false_negatives[:]
        hits = round(1000 * value)
        response.true_positives.extend([hits * images, hits * images, 0])
        response.false_positives.extend([0, 0, 0])
        response.false_negatives.extend([(1000 - hits) * images, (1000 - hits) * images, 0])
        return response


def rounds(stop, *values, **changes):
    recipe = load("street_random", stop=stop, budget__rounds=len(values) - 1, **changes)
    walked = walk(spec_of(recipe, val=40), Learning(*values))
    assert isinstance(walked.end, plan.Finish), walked.end
    return walked.end.reason, len(walked.chosen()) - 1


def test_a_goal_ends_the_run_with_the_round_that_reaches_it():
    assert rounds({"miou": 0.6}, 0.3, 0.5, 0.6, 0.7, 0.8) == ("goal_reached", 2)
    assert rounds({"miou": 0.6}, 0.7, 0.5) == ("goal_reached", 0)
    assert rounds({"miou": 0.6}, 0.3, 0.5, 0.61) == ("goal_reached", 2)
    assert rounds({"miou": 0.6}, 0.3, 0.5, 0.59) == ("spent", 2)
    assert rounds(None, 0.3, 0.9, 0.9) == ("spent", 2)


class Classifying(Learning):
    """Counts are of images; accuracies are as given, and mIoU is lower, because the misses are another class's."""

    def _evaluate(self, request):
        response = super()._evaluate(request)
        response.counts_images = True
        response.false_positives[1] = response.false_negatives[0] + response.false_negatives[1]
        return response


def test_a_goal_may_be_an_accuracy():
    assert rounds({"accuracy": 0.6}, 0.3, 0.6, 0.7) == ("goal_reached", 1)
    for recipe_stop, end in (({"accuracy": 0.6}, 2), ({"miou": 0.6}, 3), ({"accuracy": 0.9, "miou": 0.6}, 3)):
        recipe = load("street_random", stop=recipe_stop, budget__rounds=3)
        walked = walk(spec_of(recipe, val=40), Classifying(0.3, 0.5, 0.65, 0.8))
        assert walked.end == plan.Finish("goal_reached")
        assert len(walked.chosen()) - 1 == end


def test_where_images_are_classified_a_plateau_is_of_accuracy():
    stop = {"plateau": {"rounds": 1, "by": 0.08}}
    recipe = load("street_random", stop=stop, budget__rounds=3)
    found = []
    for world in (Learning, Classifying):  # each round 0.1 more accuracy, and only 0.07 more mIoU
        walked = walk(spec_of(recipe, val=40), world(0.1, 0.2, 0.3, 0.35))
        found.append((walked.end, len(walked.chosen()) - 1))
    assert found == [(plan.Finish("plateau"), 3)] * 2


@pytest.mark.parametrize(
    ("plateau", "values", "expected"),
    [
        ({"rounds": 2, "by": 0.01}, (0.3, 0.4, 0.405, 0.402, 0.5, 0.6), ("plateau", 3)),
        ({"rounds": 2, "by": 0.01}, (0.3, 0.4, 0.405, 0.42, 0.415, 0.42, 0.5), ("plateau", 5)),
        ({"rounds": 1, "by": 0.0}, (0.3, 0.4, 0.4, 0.5), ("plateau", 2)),
        ({"rounds": 1}, (0.3, 0.4, 0.41, 0.42), ("spent", 3)),
        ({"rounds": 3, "by": 0.05}, (0.3, 0.2, 0.2, 0.36, 0.1, 0.1, 0.1), ("plateau", 6)),
    ],
)
def test_a_plateau_is_rounds_without_improvement(plateau, values, expected):
    assert rounds({"plateau": plateau}, *values) == expected
    # By the definition, round after round.
    n, by = plateau["rounds"], plateau.get("by", 0.0)
    ends = [
        last
        for last in range(n, len(values))
        if not any(
            value >= max(values[: last - n + 1]) + by and value > max(values[: last - n + 1])
            for value in values[last - n + 1 : last + 1]
        )
    ]
    assert (ends[0] if ends else len(values) - 1) == expected[1]


def test_both_rules_and_the_goal_first():
    stop = {"miou": 0.6, "plateau": {"rounds": 1, "by": 0.5}}
    assert rounds(stop, 0.3, 0.6, 0.9) == ("goal_reached", 1)
    assert rounds(stop, 0.3, 0.5, 0.9) == ("plateau", 1)


def test_a_goal_that_is_reached_with_the_last_region_of_the_pool_counts():
    given = {
        "budget__unit": "clicks",
        "budget__per_round": 1e6,
        "budget__rounds": 3,
        "training__without_pixels": "skip",
    }
    for goal, reason in ((0.6, "goal_reached"), (0.7, "pool_exhausted")):
        recipe = load("street_random", stop={"miou": goal}, query={"name": "multi_class"}, **given)
        assert walk(spec_of(recipe), Learning(0.1, 0.65, 0.7, 0.8)).end == plan.Finish(reason)


def test_a_run_that_ended_early_labelled_nothing_more():
    recipe = load("street_random", stop={"miou": 0.6}, budget__rounds=4)
    walked = walk(spec_of(recipe), Learning(0.1, 0.65, 0.7, 0.8, 0.9))
    assert [(step.round, step.step) for step in walked.started][-1] == (1, "evaluate")
    assert [len(chosen) for chosen in walked.chosen()] == [32, 32]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stop": {"split": "test", "miou": 0.6}}, "'test' cannot stop a run: a run that stops by test reports a"),
        ({"stop": {"split": "train", "miou": 0.6}}, "'train' cannot stop a run: only val can be measured for it"),
        ({"stop": {"miou": 0.6}, "evaluate": ["test"]}, "stop.split: val is not measured; add it to evaluate"),
        ({"stop": {}}, "stop: gives neither miou nor accuracy nor plateau; add one"),
        ({"stop": {"miou": 1.5}}, "stop.miou: Input should be less than or equal to 1"),
        ({"stop": {"mious": 0.5}}, "stop.mious: unknown key; did you mean miou?"),
        ({"stop": {"plateau": {"rounds": 4}}, "budget__rounds": 4}, "4 rounds without improvement cannot occur"),
    ],
)
def test_rules_that_make_no_sense_are_refused_with_the_reason(changes, message):
    with pytest.raises(BadInput) as caught:
        load("street_random", **changes)
    assert message in str(caught.value)


def test_a_recipe_without_the_rule_reads_as_before():
    recipe = load("street_random")
    assert recipe.stop is None
    assert "accuracy" not in load("street_random", stop={"miou": 0.5}).canonical()
    assert recipe.selection.constraints == ()
    assert from_canonical(recipe.canonical()) == recipe
