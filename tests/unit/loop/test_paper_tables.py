"""docs/paper-tables.md, which is written from the papers, and the recipes say the same of every published value.

The page is the independent side: its numbers come from the papers' text, those of the recipes from ``paper.targets``.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tessera.loop.extending import merged

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "paper-tables.md"
NUMBER = re.compile(r"\d+(?:\.\d+)?")
SPANS = {"val_auc_50": 40, "val_auc_25": 20, "val_auc_10": 8}
"""Percent of the pool from the first budget to the last, for areas under the curve of a training with every label."""
ROWS = {
    ("MEAL", "1"): 30,
    ("Best Practices", "2"): 24,
    ("Best Practices", "3"): 18,
    ("Best Practices", "4"): 48,
    ("Best Practices", "5"): 11,
    ("Best Practices", "7"): 9,
    ("Best Practices", "8"): 18,
    ("Best Practices", "9"): 7,
    ("Minimax", "1"): 7,
    ("Minimax", "2"): 7,
    ("Minimax", "3"): 7,
    ("Minimax", "4"): 7,
    ("Minimax", "5"): 7,
    ("Minimax", "6"): 6,
    ("Minimax", "7"): 9,
    ("Minimax", "8"): 9,
    ("Minimax", "9"): 6,
    ("Multi-class Label Query", "1"): 6,
    ("Multi-class Label Query", "2"): 5,
}
"""Rows that each table of a paper prints, counted in the papers: once for each data set or setting that its columns
have; in MEAL's, once for each method."""


@dataclass(frozen=True)
class Row:
    """One row of a table of the page."""

    paper: str
    heading: str
    text: str
    """All of the section below its heading."""
    label: str
    recipes: tuple[str, ...]
    cells: dict[str, str]
    """What stands below each further head; heads that name targets are in backquotes."""

    @property
    def table(self) -> str | None:
        """Number of the paper's table; None for a figure."""
        found = re.match(r"Table (\d+)", self.heading)
        return found[1] if found else None


@functools.cache
def rows() -> list[Row]:
    found = []
    for chapter in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]:
        paper, _, body = chapter.partition("\n")
        for section in re.split(r"^### ", body, flags=re.M)[1:]:
            heading, _, text = section.partition("\n")
            lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
            head = lines[0]
            for line in lines[1:]:
                if head[:2] == ["row", "recipe"]:
                    assert len(line) == len(head), line
                    names = tuple(re.findall(r"`(\w+)`", line[1]))
                    cells = dict(zip(head[2:], line[2:], strict=True))
                    found.append(Row(paper, heading, text, line[0], names, cells))
    return found


@functools.cache
def recipe(name: str) -> dict[str, Any]:
    """A recipe or base with everything it extends, deviations aside."""
    path = next(one for one in (ROOT / f"recipes/{name}.yaml", ROOT / f"recipes/bases/{name}.yaml") if one.is_file())
    own = yaml.load(path.read_text(), yaml.CSafeLoader)  # safe, and faster than Python's
    return merged(recipe(own["extends"]), own) if "extends" in own else own


@functools.cache
def published() -> dict[str, dict[str, Any]]:
    """``paper`` of every recipe that is for the data of its paper."""
    names = [path.stem for path in (ROOT / "recipes").glob("*.yaml") if path.stem != "deviations"]
    papers = {name: recipe(name).get("paper") or {} for name in names}
    return {name: paper for name, paper in papers.items() if paper.get("dataset")}


def ends_at(name: str, key: str) -> str:
    """The target that holds the value at a budget: the last round's where the recipe ends there."""
    base, at, amount = key.partition("_at_")
    budget = recipe(name)["budget"]
    first, each = (budget.get(one) or 0 for one in ("initial", "per_round"))
    unit = {"percent": "", "clicks": "_clicks"}.get(budget["unit"])
    last = None if unit is None else f"{first + budget['rounds'] * each}{unit}"
    return base if at and (budget["rounds"] == 0 or amount == last) else key


def fraction(printed: str) -> float:
    """A printed value as a fraction: percent, unless below 1."""
    value = float(printed)
    return value if value < 1 else round(value / 100, 6)


def targets(row: Row) -> list[tuple[str, str, float]]:
    """Recipe, target and value of every number of a row that a recipe must have."""
    found = []
    for head, cell in row.cells.items():
        named = re.fullmatch(r"`(2 × )?(\w+)`", head)
        if named and NUMBER.fullmatch(cell):
            value = round(fraction(cell) / (2 if named[1] else 1), 6)
            found += [(name, ends_at(name, named[2]), value) for name in row.recipes]
    return found


def test_the_page_has_every_row_that_the_papers_print():
    counted = {(paper, number): 0 for paper, number in ROWS}
    for row in rows():
        if row.table is not None:
            counted[next(one for one in counted if one[0] in row.paper and one[1] == row.table)] += 1
    assert counted == ROWS


def test_every_printed_value_is_the_target_of_its_recipe():
    told: dict[str, dict[str, float]] = {}
    for row in rows():
        for name, key, value in targets(row):
            where = f"{row.heading}, {row.label}: {name}"
            assert published()[name]["title"] == row.paper, where
            assert published()[name]["targets"].get(key) == value, f"{where}: {key} is printed as {value}"
            told.setdefault(name, {})[key] = value
    having = {name: paper["targets"] for name, paper in published().items() if paper.get("targets")}
    assert told == having


def test_a_row_is_for_the_data_and_the_table_of_its_recipe():
    named: dict[str, set[str]] = {}
    for row in rows():
        for name in row.recipes:
            assert f"(`{published()[name]['dataset']['name']}`)" in row.heading, f"{row.heading}: {name}"
            if row.table is not None and targets(row):
                named.setdefault(name, set()).add(row.table)
    for name, tables in named.items():
        (said,) = re.findall(r"Table (\d+)", published()[name]["table"])
        assert said in tables, f"{name} says Table {said} and stands in Table {tables}"


def test_what_has_no_recipe_or_no_target_has_a_reason():
    for row in rows():
        where = f"{row.heading}, {row.label}"
        assert row.recipes or "\nNo recipe: " in row.text, where
        italic = [cell for cell in row.cells.values() if cell.startswith("*")]
        assert not italic or "\nNo target: " in row.text, where
        # A number with a recipe is a target or in italics; elsewhere it stands below a head without a target.
        assert all(cell == "–" or NUMBER.fullmatch(cell.strip("*")) for cell in row.cells.values()), where
        bare = [head for head, cell in row.cells.items() if "`" not in head and NUMBER.fullmatch(cell)]
        assert not (row.recipes and set(bare) - {"measured here"}), where


def test_every_recipe_for_the_data_of_its_paper_is_on_the_page_and_the_page_names_no_other():
    page = PAGE.read_text()
    missing = [name for name in published() if f"`{name}`" not in page]
    assert not missing
    families = "best_practices_|camvid_|deal_|mal_|meal_|mulact_|superpixel_"
    named = re.findall(rf"`((?:{families})\w+)`", page)
    unknown = [name for name in named if not (ROOT / f"recipes/{name}.yaml").is_file()]
    assert not unknown


@pytest.mark.parametrize("key", SPANS)
def test_an_area_with_every_label_is_its_miou_times_the_width_of_the_budgets(key):
    """What the paper prints for it, to the last digit; so neither number is misread."""
    checked = 0
    for row in rows():
        area = row.cells.get(f"`{key}`", "")
        if area.startswith("*"):
            miou = float(next(iter(row.cells.values())))
            assert float(area.strip("*")) == pytest.approx(miou * SPANS[key] / 100, abs=0.0051), row
            checked += 1
    assert checked >= 1


def test_the_average_of_rounds_is_that_of_the_printed_rounds():
    averaged = [row for row in rows() if "Avg" in row.cells]
    assert len(averaged) == 5
    for row in averaged:
        *each, mean = (float(cell.strip("*")) for cell in row.cells.values())
        assert mean == pytest.approx(sum(each) / 5, abs=0.1), row.label


def test_a_measured_value_stands_in_the_results_too():
    """In the page's first line about the recipe: a page of results has its newest table first."""
    measured = {row.recipes[0]: row.cells["measured here"] for row in rows() if "measured here" in row.cells}
    measured = {name: value for name, value in measured.items() if value != "–"}
    results = (ROOT / "docs" / "results" / "meal_camvid.md").read_text()
    assert measured
    for name, value in measured.items():
        newest = re.search(rf"^\| `{name}` \|[^|]*\| \*\*([0-9.]+)\*\*", results, flags=re.M)
        assert newest, name
        assert float(newest[1]) == float(value), name
