"""The reference of recipes names every value and parameter that a recipe may give, with its default."""

from __future__ import annotations

import importlib

import pytest

from tessera.cli.reference import AXES, reference
from tessera.errors import BadInput
from tessera.units import UNITS


@pytest.mark.parametrize("place", AXES)
def test_every_value_and_parameter_is_told(place):
    package, name, _ = AXES[place]
    registry = getattr(importlib.import_module(package), name)
    parts = reference(place).split("\n### ")
    told = {part.split("\n")[0].strip("`"): part for part in parts[1:]}
    assert list(told) == registry.names()
    for value, text in told.items():
        lines = text.split("\n")
        assert lines[2].endswith((".", ")")), f"{value} has no description"
        for parameter in registry.entry(value).params.model_fields:
            assert any(line.startswith(f"| `{parameter}` |") for line in lines), f"{value}.{parameter}"


def test_every_axis_of_a_recipe_is_told():
    from tessera.loop import axes

    told = {getattr(importlib.import_module(package), name) for package, name, _ in AXES.values()}
    used = {one for one in vars(axes).values() if isinstance(one, importlib.import_module("tessera.registry").Registry)}
    assert told == used


def test_types_defaults_limits_and_notes_are_those_of_the_code():
    told = reference("score.aggregate")
    row = next(line for line in told.split("\n") if line.startswith("| `fraction`"))
    assert row.split(" | ")[1:3] == ["float", "0.1"]
    assert "> 0" in row
    assert "`pool`" in reference("recipe") or "pool or shortlist or bank" in reference("recipe")
    units = reference("budget.unit")
    assert all(f"| `{name}` |" in units for name in UNITS)
    whole = reference()
    assert all(f"\n## `{place}`" in whole for place in AXES)
    assert not [word for word in ("axes.", "Annotated[", "Literal[", "``") if word in whole]


def test_an_unknown_place_is_named():
    with pytest.raises(BadInput, match="reference of 'scores': no such place in a recipe; did you mean score"):
        reference("scores")
