"""Every recipe of the repository is planned to its end: all its steps, on an imagined data set of CamVid's size."""

from __future__ import annotations

import json

import pytest

from tessera.loop import plan
from unit.loop.simulator import NAMES, load, spec_of, walk

FAMILIES = (
    "best_practices_camvid_",
    "best_practices_cityscapes_low_",
    "best_practices_pool5f_",
    "best_practices_pool11f_low_",
    "best_practices_poolaug_",
    "best_practices_voc_middle_",
    "deal_camvid_",
    "mal_bdd100k_",
    "mal_camvid_",
    "mal_cifar100_imbalanced_",
    "mal_cifar10_",
    "mal_cityscapes_",
    "mulact_camvid_dominant_",
    "mulact_camvid_multi_",
    "mulact_camvid_frozen_multi_",
    "mulact_voc_multi_",
    "select_camvid_",
    "superpixel_camvid_",
    "superpixel_contrast_camvid_fcn_",
    "superpixel_contrast_camvid_frozen_",
    "superpixel_contrast_cityscapes_",
)


def _planned(name: str) -> object:
    """One arm of a table replaces its others in the short tests: their plans are those of the CamVid arms."""
    many = name.startswith(("best_practices_voc", "best_practices_pool", "best_practices_a2d2", "best_practices_city"))
    many = many or name.startswith(("mal_cifar10_", "mal_cifar100_imbalanced_", "meal_cityscapes_"))
    stands = "coreset_ssl" in name or name.endswith("_mal") or "320_meal_ft" in name
    return pytest.param(name, marks=pytest.mark.full) if many and not stands else name


@pytest.mark.parametrize("name", [_planned(name) for name in NAMES])
def test_a_recipe_runs_to_its_end_in_the_plan(name):
    recipe = load(name)
    if recipe.budget.unit == "clicks" and recipe.budget.per_round > 1000:  # more than the imagined data set has
        recipe = load(name, budget__initial=1000, budget__per_round=1000)
    walked = walk(spec_of(recipe, train=4_000 if "3k" in name else 367, val=5, test=5))
    assert walked.end == plan.Finish("spent")
    chosen = walked.chosen()
    assert len(chosen) == recipe.budget.rounds + 1
    if recipe.budget.unit != "clicks":  # there a selection is a ranking, longer than what is asked
        assert len({row for rows in chosen for row in rows}) == sum(map(len, chosen))
    for round_ in range(1, recipe.budget.rounds + 1):
        (request,) = walked.requests(round_, "select")
        assert [stage.name for stage in request.stages] == [stage.name for stage in recipe.selection.stages]
        assert bool(request.scores) == bool(recipe.score)
        assert request.HasField("embedding") == (recipe.selection.embedding is not None)
        for stage in request.stages:
            # Defaults are in the request, so that it means the same tomorrow.
            assert json.loads(stage.parameters).keys() >= {"count"} or stage.name in (
                "uniform_every_n",
                "all",
                "exclude_predicted",
            )


@pytest.mark.parametrize("family", FAMILIES)
def test_arms_of_a_family_differ_in_how_they_select_alone(family):
    arms = {name: load(name) for name in NAMES if name.startswith(family) and not name.endswith("_supervised")}
    arms = {name: recipe for name, recipe in arms.items() if recipe.training.name not in ("mal", "s4gan")}
    arms = {name: recipe for name, recipe in arms.items() if not name.endswith("_r101")}
    assert len(arms) >= 3
    assert f"{family}random" in arms
    fixed = {name: recipe.model_dump(mode="json") for name, recipe in arms.items()}
    for one in fixed.values():
        for key in ("recipe", "description", "paper", "score"):
            del one[key]
        one["selection"] = one["selection"]["initial"]
        # What a strategy needs of the model and the training beside the labels.
        one["model"].pop("mc_dropout", None)
        one["training"].pop("memory_bank", None)
    first = next(iter(fixed.values()))
    assert all(one == first for one in fixed.values())


def test_meal_on_cityscapes_differs_from_camvid_in_data_and_budget_alone():
    names = [name for name in NAMES if name.startswith("meal_cityscapes_") and "supervised" not in name]
    assert len(names) == 16
    for name in names:
        one = load(name).model_dump(mode="json")
        other = load(name.replace("cityscapes_320", "camvid").replace("cityscapes", "camvid")).model_dump(mode="json")
        shares = [made["budget"].pop("rounds") * made["budget"].pop("per_round") for made in (one, other)]
        first = one["selection"].pop("initial")[0]["images"]
        assert other["selection"].pop("initial")[0]["images"] == 2
        assert first == (20 if "_320_" in name else 2)
        # The number of whole rounds nearest to 1 % of 2,975 frames of 16 patches.
        assert abs(16 * first + shares[0] - 476) <= 12.5
        for made in (one, other):
            for key in ("recipe", "description", "paper", "dataset", "evaluate"):
                del made[key]
        assert one == other


def test_semi_supervised_arms_select_as_the_supervised_ones_and_share_their_training():
    arms = {name: load(name) for name in NAMES if name.startswith("best_practices_")}
    trainings = {}
    for name, recipe in arms.items():
        if name.endswith("_supervised"):
            continue
        if not name.endswith("_ssl"):
            assert f"{name}_ssl" in arms
            continue
        one, other = (arms[key].model_dump(mode="json") for key in (name, name.removesuffix("_ssl")))
        for key in ("recipe", "description", "paper"):
            del one[key], other[key]
        semi, plain = one.pop("training"), other.pop("training")
        assert one == other
        assert semi["name"] == "s4gan"
        assert {key: semi[key] for key in plain if key != "name"} == {
            key: value for key, value in plain.items() if key != "name"
        }
        trainings.setdefault(recipe.dataset.name, []).append(semi)
    assert all(one == found[0] for found in trainings.values() for one in found)


@pytest.mark.parametrize("family", ["mal_bdd100k_", "mal_camvid_", "mal_cifar10_", "mal_cityscapes_"])
def test_arms_of_minimax_training_differ_in_what_is_left_out_alone(family):
    arms = {name: load(name) for name in NAMES if name.startswith(family)}
    arms = {name: recipe for name, recipe in arms.items() if recipe.training.name == "mal"}
    fixed = []
    for name, recipe in arms.items():
        one = recipe.model_dump(mode="json")
        arm = name.removeprefix(family)
        assert (one["training"].pop("entropy_weight") == 0) == arm.startswith("sl_")
        columns = {score.column for score in recipe.score}
        assert (one["training"].pop("discriminator") is not None) == ("labeledness_mean" in columns)
        wanted = {"random": set(), "unc": {"entropy_mean"}, "div": {"labeledness_mean"}}
        assert columns == wanted.get(arm.split("_")[-1], {"entropy_mean", "labeledness_mean"})
        for key in ("recipe", "description", "paper", "score", "budget"):
            del one[key]
        one["selection"] = one["selection"]["initial"]
        fixed.append(one)
    assert all(one == fixed[0] for one in fixed)
    assert len(fixed) == (1 if family == "mal_cityscapes_" else 7)
    supervised = load(f"{family}random").model_dump(mode="json")
    same = ("epochs", "batch", "lr", "optimiser", "schedule", "augment", "frozen", "backbone_norm", "view")
    assert all(supervised["training"][key] == fixed[0]["training"][key] for key in same)


def test_arms_share_their_first_round():
    keys = set()
    for name in NAMES:
        if name.startswith("select_camvid_") and name != "select_camvid_bald":
            walked = walk(
                spec_of(
                    load(
                        name,
                        budget__rounds=0,
                        selection__stages=[],
                        selection__shortlist=[],
                        selection__embedding=None,
                        selection__constraints=[],
                        score=[],
                    ),
                    train=50,
                )
            )
            keys.add(walked.requests(0, "select")[0].SerializeToString(deterministic=True))
    assert len(keys) == 1
