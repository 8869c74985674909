"""Recipes: those of the repository are valid, and every mistake is named with its path and remedy."""

from __future__ import annotations

import copy
import json
import re

import pytest
import yaml

from tessera.errors import BadInput
from tessera.loop.reading import from_canonical, parse
from unit.loop.simulator import NAMES, RECIPES, load, mapping

MEAL = mapping("meal_camvid_meal_frozen")


def test_every_row_of_the_table_has_its_recipe():
    arms = [
        f"meal_camvid_{arm}_{b}" for arm in ("random", "entropy", "meal", "meal_ft") for b in ("frozen", "finetuned")
    ]
    ablations = [f"{kind}_{arm}" for kind in ("sl", "ssl") for arm in ("random", "unc", "div")]
    studied = ("random", "entropy", "equal", "bald", "coreset", "uniform", "uniform_entropy")
    ways = ("random", "entropy", "equal", "coreset", "bald")
    pools = [f"best_practices_{key}" for key in ("cityscapes", "pool0f", "pool5f", "pool11f", "pool21f", "poolaug")]
    tables = {
        **{key: (*ways, "supervised", "bald_supervised") for key in pools},
        **{f"best_practices_{key}_low": ways[:4] for key in ("pool0f", "pool11f", "voc")},
        "best_practices_cityscapes_low": ("random", "entropy", "coreset"),
        "best_practices_voc": (*ways[:4], "supervised"),
        "best_practices_voc_middle": ways[:4],
        "best_practices_a2d2_3k": ("random", "entropy", "coreset", "uniform", "uniform_entropy", "supervised"),
    }
    wanted = {
        f"{family}_{arm}{half}"
        for family, found in tables.items()
        for arm in found
        for half in ("", "_ssl")
        if not (half and arm.endswith("supervised"))
    }
    assert wanted <= set(NAMES)
    assert all(load(name).paper.targets for name in wanted)
    families = {
        "select_camvid": (
            *("random", "uniform", "entropy", "bvsb", "classbal", "pixbal", "equal", "bald", "vaal", "mal", "kcenter"),
            *("knn", "badge", "meal", "kmeans_umap", "round_robin"),
        ),
        "best_practices_camvid": [
            *(f"{arm}{half}" for arm in studied for half in ("", "_ssl")),
            *("supervised", "bald_supervised"),
        ],
        "superpixel_camvid": ("random", "entropy", "kmeans_umap"),
        "superpixel_contrast_camvid_frozen": ("random", "entropy", "kmeans_umap"),
        "superpixel_contrast_camvid_fcn": ("random", "entropy", "kmeans_umap"),
        "superpixel_contrast_cityscapes": ("random", "entropy", "kmeans_umap"),
        "superpixel_ablation_camvid": ("no_contrast", "no_teacher", "512_positives"),
        "mulact_camvid": [
            f"{frozen}{q}_{arm}"
            for frozen in ("", "frozen_")
            for q in ("dominant", "multi")
            for arm in ("random", "bvsb", "classbal", "pixbal", *(("margin", "knn") if q == "multi" else ()))
        ],
        "mulact_camvid_frozen": (
            *("localised", "stage1", "no_pp", "no_mp", "infimum", "rc", "confident", "dominant_expanded"),
            *("mask_random", "mask_entropy", "mask_meal"),
        ),
        "deal_camvid": ("random", "entropy", "coreset", "vaal"),
        "mal_camvid": ("random", "entropy", "coreset", "bald", "vaal", "mal", *ablations),
        "mal_cityscapes": ("random", "entropy", "coreset", "bald", "vaal", "mal", "supervised"),
        "mal_cifar100": ("random", "entropy", "coreset", "bald", "vaal", "mal", "supervised", *ablations),
        "mal_cifar10": ("random", "entropy", "coreset", "bald", "vaal", "mal", "supervised", *ablations),
        "mal_cifar100_imbalanced": ("random", "entropy", "coreset", "bald", "vaal", "mal", "supervised"),
        "mal_cifar100_vgg16": ("vaal", "mal", "supervised"),
        "mal_bdd100k": ("random", "entropy", "coreset", "vaal", "mal", "supervised", *ablations),
    }
    assert set(NAMES) >= {f"{family}_{arm}" for family, found in families.items() for arm in found}
    street = [f"street_{arm}" for arm in ("random", "entropy", "meal", "meal_ft", "supervised", "multi_class")]
    assert set(NAMES) >= {*arms, *street, "camvid_supervised_frozen", "camvid_supervised_finetuned"}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_of_the_repository_is_valid_and_round_trips(name):
    recipe = parse(mapping(name))
    assert recipe.recipe == name
    text = recipe.canonical()
    assert from_canonical(text) == recipe
    assert from_canonical(text).canonical() == text
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False) == text
    assert recipe.paper.deviations
    assert recipe.paper.dataset is None or recipe.paper.dataset.name == recipe.dataset.name
    assert (recipe.acquisition_model == "kept") == any("val steers" in text for text in recipe.paper.deviations)
    families = re.findall(r"`([a-z0-9_]+)\*`", (RECIPES / "README.md").read_text())
    assert any(name.startswith(family) for family in families), "recipes/README.md has no family for it"
    if name.startswith(("meal_camvid_", "camvid_")):
        assert recipe.paper.targets.keys() == {"val_miou"}
    elif name.startswith("deal_camvid_"):
        assert recipe.paper.targets.keys() == {"test_miou"}
        assert recipe.checkpoint == "best_val"
    elif "camvid" in name:
        # Papers that have no CamVid: no target, and the reason why.
        assert not recipe.paper.targets
        assert any(
            "no published value" in one or "no target" in one or "is empty" in one for one in recipe.paper.deviations
        )


def test_defaults_are_filled_in():
    recipe = parse(MEAL)
    assert recipe.training.parameters["optimiser"] == "adam"
    assert recipe.selection.embedding.projection.parameters["neighbors"] == 15
    assert json.loads(recipe.selection.stages[0].message().parameters)["local_trials"] == 1


def test_overrides_reach_into_mappings_and_lists():
    recipe = parse(MEAL, [("budget.rounds", 2), ("selection.shortlist.0.count", 64), ("training.lr", 0.5)])
    assert recipe.budget.rounds == 2
    assert recipe.selection.shortlist[0].parameters["count"] == 64
    assert recipe.training.parameters["lr"] == 0.5
    assert MEAL["budget"]["rounds"] == 8


def test_partitions_are_listed_in_the_wire_form():
    message = parse(MEAL).partition.message()
    assert message.name == "grid"
    assert json.loads(message.parameters)["rows"] == 4


REFUSED = [
    ({"budgett.rounds": 1}, "budgett: unknown key; did you mean budget?"),
    ({"budget.round": 1}, "budget.round: unknown key; did you mean rounds"),
    ({"selection.embedding.fitted_on": "pool"}, "selection.embedding.fitted_on: unknown key; did you mean fit_on?"),
    ({"budget": {"per_round": 32}}, "budget.rounds: missing; add it"),
    ({"partition.name": "gird"}, "unknown name 'gird'; did you mean grid?"),
    ({"partition.row": 3}, "row: unknown key; did you mean"),
    ({"partition": {"rows": 4}}, "partition: name is missing; add it"),
    ({"partition": 7}, "partition: give a mapping with a name"),
    ({"score.0.name": "entrpy"}, "score.0: score: unknown name 'entrpy'; did you mean entropy?"),
    ({"score.0.aggregate": "meen"}, "score.0.aggregate: score.aggregate: unknown name 'meen'; did you mean mean"),
    (
        {"training.epochs": 0},
        "training.supervised.epochs: Input should be greater than or equal to 1 (got 0)",
    ),
    ({"training.name": "supervise"}, "unknown name 'supervise'; did you mean supervised?"),
    ({"model.name": "deeplab"}, "model: "),
    ({"query.name": "masks"}, "unknown name 'masks'; did you mean mask?"),
    ({"selection.stages.0.name": "kmean"}, "selection.stages.0: selection.stages: unknown name 'kmean'"),
    ({"selection.embedding.projection.name": "umapp"}, "unknown name 'umapp'; did you mean umap?"),
    ({"budget.per_round": 0}, "budget.per_round: Input should be greater than 0 (got 0)"),
    ({"budget.per_round": -3}, "budget.per_round: Input should be greater than 0 (got -3)"),
    ({"budget.per_round": float("nan")}, "budget.per_round: Input should be"),
    ({"budget.per_round": float("inf")}, "budget.per_round: Input should be a finite number"),
    ({"budget.per_round": True}, "budget.per_round: give a number, not yes or no"),
    ({"training.epochs": True}, "epochs: Value error, give a number, not yes or no (got True)"),
    ({"budget.per_round": 1.5}, "per_round counts regions and must be whole"),
    ({"budget.rounds": -1}, "budget.rounds: Input should be greater than or equal to 0 (got -1)"),
    ({"budget.unit": "region"}, "budget: unknown unit 'region'; did you mean regions?"),
    ({"budget.unit": "images"}, "budget.unit: images, but partition grid asks about parts of images"),
    ({"checkpoint": "best"}, "checkpoint: Input should be 'last' or 'best_val' (got 'best')"),
    ({"checkpoint": "best_val", "evaluate": ["test"]}, "checkpoint: best_val chooses by val"),
    ({"evaluate": ["train"]}, "evaluate.0: Input should be 'val' or 'test' (got 'train')"),
    ({"evaluate": ["val", "val"]}, "evaluate: a split is named twice"),
    ({"selection.embedding": None}, "selection.embedding: missing; stage kmeans_plusplus chooses by distance"),
    ({"selection.stages": []}, "selection.stages: empty, but budget.rounds is 8"),
    ({"selection.stages": [{"name": "top", "by": "entropy_mean"}]}, "selection.embedding: no stage uses it"),
    ({"selection.embedding.watch": True}, "selection.embedding.watch: true, but stage kmeans_plusplus chooses by"),
    (
        {"selection.shortlist.0.by": "bvsb_mean"},
        "shortlist.0.by: 'bvsb_mean' is not a requested score column",
    ),
    ({"score": []}, "selection.shortlist.0.by: 'entropy_mean' is not a requested score column (requested: none)"),
    ({"score": [{"name": "entropy"}, {"name": "entropy"}]}, "score: column entropy_mean is requested twice"),
    ({"selection.shortlist.0.count": 31}, "selection.shortlist.0.count: 31 is less than budget.per_round 32"),
    ({"selection.shortlist": [], "selection.embedding.fit_on": "shortlist"}, "there is no selection.shortlist"),
    ({"selection.initial": [{"name": "all"}]}, "selection.initial: all leaves nothing for 8 rounds"),
    ({"selection.initial": [{"name": "random"}]}, "selection.initial: nothing says how much to label first"),
    ({"selection.initial": [{"name": "kmeans_plusplus", "count": 4}]}, "does not exist before the first training"),
    (
        {"selection.initial": [{"name": "top", "by": "entropy_mean", "count": 4}]},
        "no model exists before the first training",
    ),
    ({"selection.initial": []}, "selection.initial: "),
    ({"runtime.shard_images": 0}, "runtime.shard_images: Input should be greater than or equal to 1 (got 0)"),
    ({"recipe": "No Spaces"}, "recipe: String should match pattern"),
    ({"budget.rounds.more": 1}, "--set budget.rounds.more: budget.rounds is 8 with nothing inside"),
    ({"selection.stages.5.name": "top"}, "'5' must be a place in a list of 1"),
    ({"selection.stages.x": 1}, "'x' must be a place in a list of 1"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_a_mistake_is_named_with_its_path(changes, message):
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        parse(MEAL, changes)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [None, [], "text", 3])
def test_what_is_no_mapping_is_refused(text):
    with pytest.raises(BadInput, match="expected a mapping"):
        parse(text)


def test_values_that_are_not_plain_are_refused():
    whole = copy.deepcopy(MEAL)
    whole["description"] = yaml.safe_load("2026-01-02")
    with pytest.raises(BadInput, match="only text, numbers"):
        parse(whole)


def test_several_mistakes_are_named_at_once():
    with pytest.raises(BadInput) as caught:
        parse(MEAL, {"budget.rounds": -1, "partition.name": "gird", "chekpoint": "last"})
    assert all(part in str(caught.value) for part in ("budget.rounds", "gird", "chekpoint"))


def test_broken_canonical_text_is_refused():
    with pytest.raises(BadInput, match="not JSON"):
        from_canonical("{")


def test_a_default_that_a_later_version_adds_does_not_change_a_run_that_began_before():
    text = json.loads(parse(MEAL).canonical())
    # As an older version wrote it, which had no local_trials.
    del text["selection"]["stages"][0]["local_trials"]
    recipe = from_canonical(json.dumps(text))
    assert json.loads(recipe.selection.stages[0].message().parameters) == {"count": None}


def test_published_values_name_their_data():
    with pytest.raises(
        BadInput, match=r"paper\.targets: published values need the data they are for; add paper\.datas"
    ):
        parse(mapping("street_random"), {"paper.targets": {"val_miou": 0.5}})
    told = {"paper.targets": {"val_miou": 0.5}, "paper.dataset": {"name": "street", "classes": 12}}
    assert parse(mapping("street_random"), told).paper.dataset.classes == 12


def test_the_acquiring_weights_are_the_last_unless_a_recipe_says_kept():
    """``last`` by default; written only where it changes a request, so that earlier recipes keep their bytes."""
    given = {**mapping("street_meal"), "checkpoint": "best_val"}
    last, kept = parse(given), parse({**given, "acquisition_model": "kept"})
    assert (last.acquires_last, kept.acquires_last) == (True, False)
    assert '"acquisition_model":"last"' in last.canonical()
    assert "acquisition_model" not in kept.canonical()
    for one in (last, kept):
        assert from_canonical(one.canonical()) == one
    # Without a choice of the checkpoint there is nothing to tell apart.
    plain = parse({**mapping("street_meal"), "acquisition_model": "kept"})
    assert plain == parse(mapping("street_meal"))
    assert "acquisition_model" not in plain.canonical()
    with pytest.raises(BadInput, match="acquisition_model"):
        parse({**given, "acquisition_model": "best"})
