"""Recipes that extend others: merged and replaced values, deviations by name, and every mistake."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tessera.cli import extending, recipes
from tessera.errors import BadInput
from tessera.loop.extending import merged

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = [*extending.names(), *extending.bases()]


def golden() -> Any:
    spec = importlib.util.spec_from_file_location("record", ROOT / "tests" / "golden" / "record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_recipes_resolve_to_the_recorded_bytes():
    """A run's name and its place in the log depend on these bytes; tests/golden/record.py writes them anew."""
    assert golden().hashes() == json.loads(golden().RECORDED.read_text())


def test_a_name_means_one_file():
    assert not set(extending.names()) & set(extending.bases())
    assert len(extending.bases()) <= 40


@pytest.mark.parametrize("name", SHIPPED)
def test_a_file_states_only_what_differs(name):
    content = extending.read_yaml(extending.shipped(name))
    if "extends" in content:
        base = extending.whole(extending.shipped(content.pop("extends")))
        for key in ("deviations", "without"):
            content.get("paper", {}).pop(key, None)
        assert not list(repeated(base, content)), name


def repeated(base: Any, over: Any, path: str = "") -> Any:
    for key, value in over.items():
        where = f"{path}.{key}"
        if (
            isinstance(value, dict)
            and isinstance(base.get(key), dict)
            and value.get("name") in (None, base[key].get("name"))
        ):
            yield from repeated(base[key], value, where)
        elif key in base and base[key] == value and key != "name":
            yield where


def test_every_deviation_is_listed_by_a_recipe_and_told_once():
    told = [text for name in extending.names() for text in recipes.load(name).paper.deviations]
    assert set(told) == set(extending.catalogue().values())
    for name in extending.names():
        own = recipes.load(name).paper.deviations
        assert len(set(own)) == len(own), name


def test_mappings_merge_and_anything_else_replaces():
    base = {
        "dataset": {"name": "street", "parameters": {"train": 24}},
        "training": {"name": "supervised", "epochs": 30, "schedule": {"name": "step", "every": 20}},
        "selection": {"stages": [{"name": "top", "by": "x"}], "embedding": {"fit_on": "pool"}},
        "score": [1, 2],
    }
    over = {
        "dataset": {"name": "camvid"},
        "training": {"epochs": 8, "schedule": {"name": "none"}},
        "selection": {"stages": [{"name": "random"}], "embedding": None},
        "stop": {"miou": 0.5},
    }
    assert merged(base, over) == {
        # Another name: none of the street's parameters.
        "dataset": {"name": "camvid"},
        "training": {"name": "supervised", "epochs": 8, "schedule": {"name": "none"}},
        "selection": {"stages": [{"name": "random"}], "embedding": None},
        "score": [1, 2],
        "stop": {"miou": 0.5},
    }
    assert base["training"]["epochs"] == 30


def write(folder: Path, name: str = "mine.yaml", **content: Any) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_a_users_file_extends_a_recipe_of_the_project(tmp_path):
    path = write(
        tmp_path,
        extends="meal_camvid_meal_ft_frozen",
        recipe="mine",
        paper={"deviations": ["our own camera", "best_practices_no_crops"], "without": ["camvid_test_frames"]},
        training={"lr": 0.0005},
    )
    mine, base = recipes.load(path, ["training.epochs=3"]), recipes.load("meal_camvid_meal_ft_frozen")
    assert mine.recipe == "mine"
    assert not mine.description  # that of the base would not be true
    assert mine.training.parameters == {**base.training.parameters, "lr": 0.0005, "epochs": 3}
    assert mine.selection == base.selection
    known = extending.catalogue()
    assert set(mine.paper.deviations) == {
        *base.paper.deviations,
        known["best_practices_no_crops"],
        "our own camera",
    } - {known["camvid_test_frames"]}
    assert mine.paper.deviations[-1] == "our own camera"


def test_a_users_file_extends_one_beside_it_and_that_one_of_the_project(tmp_path):
    write(tmp_path, "ours/base.yaml", extends="street_patches", score=[{"name": "entropy"}])
    path = write(
        tmp_path,
        extends="ours/base.yaml",
        recipe="mine",
        selection={"stages": [{"name": "top", "by": "entropy_mean"}]},
    )
    mine = recipes.load(path)
    assert mine.partition == recipes.load("street_entropy").partition
    assert mine.selection == recipes.load("street_entropy").selection


def test_a_base_with_a_name_of_its_own_can_be_run(tmp_path):
    write(tmp_path, "base.yaml", extends="street_random", recipe="named", description="Ours.")
    path = write(tmp_path, extends="base.yaml", budget={"rounds": 2})
    assert recipes.load(str(tmp_path / "base.yaml")).recipe == "named"
    with pytest.raises(BadInput, match=r"recipe: missing; the file has no name"):
        recipes.load(path)
    with pytest.raises(BadInput, match=r"street_patches is a base for recipes to extend"):
        recipes.load("street_patches")


def test_the_whole_recipe_is_shown_and_is_a_recipe_itself(tmp_path, capsys):
    from tessera.cli.main import recipes as command

    command("show", "street_meal_ft", ["budget.rounds=2"])
    shown = capsys.readouterr().out
    (tmp_path / "shown.yaml").write_text(shown)
    assert "extends" not in yaml.safe_load(shown)
    assert recipes.load(str(tmp_path / "shown.yaml")) == recipes.load("street_meal_ft", ["budget.rounds=2"])


def test_a_circle_is_named(tmp_path):
    write(tmp_path, "a.yaml", extends="b.yaml", recipe="a")
    write(tmp_path, "b.yaml", extends="c.yaml")
    write(tmp_path, "c.yaml", extends="b.yaml")
    with pytest.raises(BadInput, match=r"c\.yaml: extends: b → c → b is a circle"):
        recipes.load(str(tmp_path / "a.yaml"))
    write(tmp_path, "self.yaml", extends="self.yaml", recipe="a")
    with pytest.raises(BadInput, match=r"self → self is a circle"):
        recipes.load(str(tmp_path / "self.yaml"))


def test_a_chain_has_an_end(tmp_path):
    write(tmp_path, "0.yaml", extends="street_random", recipe="deep")
    for depth in range(1, 9):
        write(tmp_path, f"{depth}.yaml", extends=f"{depth - 1}.yaml", recipe="deep")
    # Five of its own, then street_random, street_patches and street.
    assert recipes.load(str(tmp_path / "4.yaml")).recipe == "deep"
    with pytest.raises(BadInput, match=r"5\.yaml: extends: more than 8 files deep"):
        recipes.load(str(tmp_path / "5.yaml"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"extends": "street_radnom"}, "unknown recipe or base 'street_radnom'; did you mean street_random"),
        ({"extends": "gone.yaml"}, "gone.yaml: no such file"),
        ({"extends": "../outside.yaml"}, "leads out of the folder"),
        ({"extends": "/etc/hosts.yaml"}, "leads out of the folder"),
        ({"extends": "link.yaml"}, "leads out of the folder"),
        ({"extends": "../street_random"}, "unknown recipe or base"),
        ({"extends": "deviations"}, "unknown recipe or base"),
        ({"extends": ["street_random", "street_meal"]}, "give one name or the path of one file"),
        ({"extends": None}, "give one name"),
        ({"extends": "list.yaml"}, r"list\.yaml: recipe: expected a mapping"),
        ({"extends": "broken.yaml"}, r"broken\.yaml, line 2, column 1: not valid YAML"),
        ({"extends": "street_random", "paper": {"deviations": ["chekpoint_last"]}}, "did you mean checkpoint_last"),
        ({"extends": "street_random", "paper": {"deviations": "all"}}, "give a list"),
        ({"extends": "street_random", "paper": {"deviations": [1]}}, "give a list"),
        ({"extends": "street_random", "paper": {"without": ["bfloat16"]}}, "'bfloat16' is not inherited"),
        ({"extends": "street_random", "paper": {"wihtout": []}}, "paper.wihtout: unknown key"),
        ({"extends": "street_random", "paper": 3}, "paper"),
        ({"extends": "street_random", "budget": {"ruonds": 3}}, "did you mean rounds"),
        ({"extends": "street_random", "query": {"name": "msk"}}, "did you mean mask"),
    ],
)
def test_mistakes_are_named(tmp_path, content, message):
    folder = tmp_path / "mine"
    path = write(folder, recipe="mine", **content)
    write(tmp_path, "outside.yaml", extends="street_random")
    (folder / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    (folder / "list.yaml").write_text("- 1\n")
    (folder / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(BadInput, match=message) as caught:
        recipes.load(path)
    assert str(folder) in str(caught.value)


def test_recipes_of_the_project_give_no_sentences(tmp_path, monkeypatch):
    (tmp_path / "bases").mkdir()
    (tmp_path / "deviations.yaml").write_text("one: The first.\n")
    path = write(tmp_path, recipe="ours", paper={"deviations": ["a sentence of its own"]})
    monkeypatch.setattr(extending, "folders", lambda: [tmp_path])
    with pytest.raises(BadInput, match=r"is a sentence; add it to deviations"):
        extending.whole(Path(path))


@pytest.mark.parametrize("setting", ["extends=street_random", "paper.without=[checkpoint_last]"])
def test_only_files_extend(setting):
    with pytest.raises(BadInput, match="only a file can say that"):
        recipes.load("street_random", [setting])
