"""Recipes are found by name or path; overrides are YAML values; mistakes are named with a remedy."""

import pytest

from tessera.cli import extending, recipes
from tessera.errors import BadInput
from tessera.runtime.topology import token


def test_every_recipe_of_the_project_reads():
    names = extending.names()
    assert {"street_random", "street_meal", "meal_camvid_meal_frozen"} <= set(names)
    for name in names:
        assert recipes.load(name).recipe == name


def test_every_recipe_lists_what_it_does_otherwise_than_its_paper():
    """The reader of a result must not have to find these in the code."""
    for name in extending.names():
        recipe = recipes.load(name)
        said = " ".join(recipe.paper.deviations)
        training, model = recipe.training.parameters, recipe.model.axis.parameters
        needed = {
            "atrous taps": training["view"] != "images",
            "image pool": training["view"] != "images",
            "view: windows": training["view"] == "windows",
            "dropout": bool(model.get("dropout")) and "mobilenetv2" in recipe.model.axis.name,
            "third as wide": model["width"] == 0.35,
            "pretrain_street": recipe.model.pretrained == "street",
            "last epoch": recipe.checkpoint == "last",
            "batch norm of the backbone": recipe.dataset.name == "camvid",
            "bfloat16": recipe.dataset.name == "camvid",
        }
        assert not [words for words, holds in needed.items() if holds and words not in said], name


def test_the_list_is_aligned_by_the_longest_name(capsys):
    from tessera.cli.main import recipes as listed

    listed("list", "")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(extending.names())
    width = max(map(len, extending.names()))
    assert all(line[width : width + 2] == "  " and line[width + 2] != " " for line in lines)


def test_overrides_replace_values():
    recipe = recipes.load("street_meal", ["budget.rounds=2", "selection.initial.0.images=4", "training.lr=0.0005"])
    assert recipe.budget.rounds == 2
    assert recipe.selection.initial[0].parameters["images"] == 4
    assert recipe.training.parameters["lr"] == 5e-4


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("street_meel", [], "did you mean street_meal"),
        ("gone.yaml", [], "no such file"),
        ("street_meal", ["budget.rounds"], "write a.b=value"),
        ("street_meal", ["budget.ruonds=3"], "did you mean rounds"),
        ("street_meal", ["query.name=msk"], "did you mean mask"),
        ("street_meal", ["selection.stages.5.name=top"], "place in a list"),
        ("street_meal", ["budget.rounds={"], "not a value in YAML"),
        ("../../gone", [], "no such file"),
    ],
)
def test_mistakes_are_named(name, settings, message):
    with pytest.raises(BadInput, match=message):
        recipes.load(name, settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1\n", "line"),
        (b"\xff\xfe", "not UTF-8"),
        (b"- 1\n", "mapping"),
        (b"!!python/object:os.x {}", "not valid"),
    ],
)
def test_files_that_are_no_recipes(tmp_path, content, message):
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        recipes.load(str(tmp_path / "r.yaml"))
    assert str(tmp_path / "r.yaml") in str(caught.value)


def test_a_run_id_is_a_subject_token_and_names_what_matters():
    recipe = recipes.load("street_meal")
    one = recipes.run_id(recipe, 0, "/data")
    assert token(one) == one
    assert one.startswith("street_meal-s0-")
    others = {
        recipes.run_id(recipe, 1, "/data"),
        recipes.run_id(recipe, 0, "/other"),
        recipes.run_id(recipes.load("street_meal", ["training.epochs=3"]), 0, "/data"),
    }
    assert len(others | {one}) == 4
    assert recipes.run_id(recipes.load("street_meal"), 0, "/data") == one
