"""Score columns in recipes: names, parameters of aggregations, columns with one value per class, and the needs of
stages."""

from __future__ import annotations

import copy
import json
import re

import pytest

from tessera.cli import recipes
from tessera.errors import BadInput
from tessera.loop import plan
from tessera.loop.reading import from_canonical, parse
from unit.loop.simulator import mapping, spec_of

ENTROPY = mapping("meal_camvid_entropy_frozen")
PIXBAL = {
    "score": [
        {"name": "bvsb", "aggregate": "by_class"},
        {"name": "probability", "aggregate": "mean"},
        {"name": "predicted", "aggregate": "majority"},
    ],
    "selection.stages": [{"name": "class_balanced"}],
}


def test_an_aggregation_has_parameters_and_a_column_a_name():
    recipe = parse(
        ENTROPY,
        {
            "score": [
                {"name": "entropy", "aggregate": {"name": "top_mean", "fraction": 0.05}},
                {"name": "entropy", "aggregate": {"name": "top_mean"}, "column": "entropy_top10"},
                {"name": "entropy", "base": 2, "aggregate": "sum", "column": "bits"},
                {"name": "entropy"},
            ]
        },
    )
    assert [one.column for one in recipe.score] == ["entropy_top_mean", "entropy_top10", "bits", "entropy_mean"]
    assert recipe.score[0].aggregate.message().parameters == '{"fraction":0.05}'
    assert recipe.score[1].aggregate.message().parameters == '{"fraction":0.1}'
    assert recipe.score[2].axis.message().parameters == '{"base":2.0}'
    assert from_canonical(recipe.canonical()) == recipe
    written = json.loads(recipe.canonical())["score"]
    assert written[0] == {"name": "entropy", "base": None, "aggregate": {"name": "top_mean", "fraction": 0.05}}
    assert written[3] == {"name": "entropy", "base": None, "aggregate": "mean"}


def test_what_the_first_version_wrote_stays_as_it_is():
    whole = json.loads(parse(ENTROPY).canonical())
    whole["score"] = [{"aggregate": "mean", "name": "entropy"}]
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    old = from_canonical(text)
    assert old.canonical() == text
    assert old.score[0].column == "entropy_mean"
    assert (old.score[0].axis.message().parameters, old.score[0].aggregate.message().parameters) == ("{}", "{}")


def test_pixbal_asks_for_its_columns():
    recipe = parse(ENTROPY, PIXBAL)
    assert json.loads(recipe.selection.stages[0].message().parameters)["nu"] == 6.0


REFUSED = [
    ({"score": PIXBAL["score"][1:]}, "class_balanced needs score column bvsb_by_class; add {name: bvsb, aggregate: by"),
    ({"score": PIXBAL["score"][:1]}, "needs score column probability_mean; add {name: probability, aggregate: mean}"),
    (
        {"score": PIXBAL["score"][:2], "selection.stages.0.undefined": 11},
        "needs score column predicted_majority; add {name: predicted, aggregate: maj",
    ),
    ({"selection.stages.0.mode": "classbal"}, "needs score column bvsb_mean; add {name: bvsb, aggregate: mean} to"),
    ({"selection.stages.0.uncertainty": "u"}, "column u; add {name: bvsb, aggregate: by_class, column: u} to score"),
    (
        {"selection.stages.0.uncertainty": "predicted_majority"},
        "needs one value per class in column predicted_majority",
    ),
    ({"selection.stages.0.undefined": 11}, "stages.0.undefined: 11, but training supervised trains no class for"),
    (
        {"selection.stages": [{"name": "exclude_predicted", "undefined": 11}]},
        "stages.0.undefined: 11, but training supervised trains no class for",
    ),
    ({"selection.stages.0.nu": -1}, "nu: Input should be greater than or equal to 0"),
    ({"selection.stages": [{"name": "top", "by": "bvsb_by_class"}]}, "has one value per class; name one of them, such"),
    ({"selection.stages": [{"name": "top", "by": "bvsb_by_classes"}]}, "is not a requested score column"),
    ({"score.0.aggregate": {"name": "top_mean", "fraction": 0}}, "fraction: Input should be greater than 0"),
    ({"score.0.aggregate": {"name": "top_mean", "share": 0.1}}, "share: unknown key"),
    ({"score.0.aggregate": 3}, "score.0.aggregate: give a mapping with a name"),
    ({"score.0.column": "Not a name"}, "score.0.column: String should match pattern"),
    (
        {"score.1.aggregate": "by_class"},
        "score.1: score column probability_by_class: probability already has one value per class",
    ),
    ({"score.2.aggregate": "mean"}, "predicted is a class and no number, so it cannot be aggregated by 'mean'; use"),
    ({"score.2.column": "bvsb_by_class_2"}, "is already one of the per-class columns of bvsb_by_class; give it"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_a_column_that_cannot_be_is_named(changes, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        parse(ENTROPY, copy.deepcopy({**PIXBAL, **changes}))


def test_a_stage_orders_by_what_an_earlier_one_made_and_by_one_class():
    for by in ("rare", "probability_mean_3"):
        stages = [{"name": "class_balanced", "column": "rare"}, {"name": "top", "by": by}]
        assert parse(ENTROPY, {**PIXBAL, "selection.stages": stages}).selection.stages[1].parameters["by"] == by
    with pytest.raises(BadInput, match=r"selection\.stages\.0\.by: 'rare' is not a requested score column"):
        parse(ENTROPY, {**PIXBAL, "selection.stages": [{"name": "top", "by": "rare"}]})


@pytest.mark.parametrize("recipe", ["mulact_camvid_frozen_multi_bvsb", "mulact_camvid_frozen_multi_pixbal"])
def test_undefined_is_the_class_after_those_of_the_data_set(recipe):
    spec = spec_of(recipes.load(recipe))
    assert len(spec.class_names) == 11
    plan.check(spec)
    del spec.class_names[5:]
    with pytest.raises(BadInput, match=r"stages\.0\.undefined: 11, but data set imagined has 5 classes.*set it to 5"):
        plan.check(spec)
