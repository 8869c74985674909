"""The reference of recipes, generated from the code: every section, axis value, parameter and unit."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tessera.errors import BadInput, nearest

AXES = {
    "partition": ("tessera.regions", "PARTITIONS", "How an image is cut into regions."),
    "query": ("tessera.queries", "FORMATS", "The question that annotators answer about a region."),
    "oracle": ("tessera.queries", "ORACLES", "Who answers."),
    "model": ("tessera.models", "ARCHITECTURES", "The network; `pretrained` names its initial weights."),
    "score": ("tessera.acquisition", "SCORES", "How informative the label of a pixel, or of a whole region, would be."),
    "score.aggregate": ("tessera.acquisition", "AGGREGATIONS", "How the pixels of a region become one number."),
    "selection.embedding.features": ("tessera.acquisition", "FEATURES", "The feature vector of a region."),
    "selection.embedding.projection": (
        "tessera.acquisition",
        "PROJECTIONS",
        "The map from features to the space in which stages measure distances.",
    ),
    "selection.stages": (
        "tessera.acquisition",
        "STAGES",
        "Stages of a selection; each narrows or orders the regions that the one before kept. `initial` and "
        "`shortlist` take the same ones.",
    ),
    "selection.constraints": (
        "tessera.acquisition",
        "CONSTRAINTS",
        "Rules between the regions that one round chooses.",
    ),
    "training": ("tessera.training", "METHODS", "How the network is trained in a round."),
}
"""Place in a recipe → package and name of its registry, and its purpose."""


def reference(place: str = "") -> str:
    """Return the reference as Markdown: all of it, or one place of a recipe; BadInput for an unknown place."""
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "recipe": _sections,
        "budget.unit": _units,
        **{axis: functools.partial(_axis, axis) for axis in AXES},
    }
    if place and place not in parts:
        raise BadInput(f"reference of {place!r}: no such place in a recipe; {nearest(place, parts)}")
    chosen = [place] if place else list(parts)
    return "\n".join(line for name in chosen for line in parts[name]()).rstrip()


def _axis(axis: str) -> Iterator[str]:
    package, name, what = AXES[axis]
    registry = getattr(importlib.import_module(package), name)
    yield from (f"## `{axis}`", "", what, "")
    for value in registry.names():
        entry = registry.entry(value)
        yield from (f"### `{value}`", "", _prose(entry.function), "")
        yield from _parameters(entry.params)


def _sections() -> Iterator[str]:
    from tessera.loop import recipe as schema

    yield from ("# Reference of recipes", "", "Printed by `tessera recipes reference [PLACE]`, from the code.", "")
    yield from ("## `recipe`", "", _prose(schema.Recipe), "")
    places: dict[str, type[BaseModel]] = {
        "": schema.Recipe,
        "paper": schema.Paper,
        "dataset": schema.DatasetChoice,
        "selection": schema.Selection,
        "selection.embedding": schema.Embedding,
        "budget": schema.BudgetChoice,
        "stop": schema.Stop,
        "stop.plateau": schema.Plateau,
        "runtime": schema.RuntimeChoice,
    }
    for place, section in places.items():
        if place:
            yield from (f"### `{place}`", "", _prose(section), "")
        yield from _parameters(section)


def _units() -> Iterator[str]:
    from tessera.units import UNITS

    yield from ("## `budget.unit`", "", "Units of budgets and of `tessera compare --over`.", "")
    yield from (
        "| unit | it counts | a budget's unit | known before asking | carried to the next round |",
        "|---|---|---|---|---|",
    )
    for unit in UNITS.values():
        facts = (unit.budget, unit.total is not None, unit.carries and unit.budget)
        yield f"| `{unit.name}` | {unit.title} | {' | '.join('yes' if fact else 'no' for fact in facts)} |"
    yield ""


def _parameters(model: type[BaseModel]) -> Iterator[str]:
    """Yield the lines of a table of a model's fields; nothing where it has none."""
    if not model.model_fields:
        return
    notes = _notes(model)
    yield from ("| parameter | type | default | |", "|---|---|---|---|")
    for name, field in model.model_fields.items():
        kind, note = notes.get(name, ("", ""))
        default = "needed" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        limits = ", ".join(
            f"{sign} {getattr(one, key)}" for one in field.metadata for key, sign in _SIGNS if hasattr(one, key)
        )
        said = "; ".join(part for part in (limits, note) if part)
        yield f"| `{field.alias or name}` | {_cell(kind)} | {_cell(default)} | {_cell(said)} |"
    yield ""


_SIGNS = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))


def _shown(value: Any) -> str:
    if value is PydanticUndefined:
        return ""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=True)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shown(one)}" for key, one in value.items()) + "}"
    return str(value)


def _notes(model: type[BaseModel]) -> dict[str, tuple[str, str]]:
    """Return, by field, the type in words and the documentation."""
    found: dict[str, tuple[str, str]] = {}
    for owner in reversed(model.__mro__):
        if not (isinstance(owner, type) and issubclass(owner, BaseModel)) or owner is BaseModel:
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for at, node in enumerate(body):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                after = body[at + 1] if at + 1 < len(body) else None
                found[node.target.id] = (_type(ast.unparse(node.annotation)), _literal(after))
    return found


def _type(annotation: str) -> str:
    """Return an annotation in the words of a recipe's author."""
    text = annotation.replace("axes.", "").replace("Finite", "float").replace(" | None", " or null")
    text = re.sub(r"Annotated\[(\w+), .*?\](?= or null|$)", r"\1", text)
    text = re.sub(r"Literal\[(.*?)\]", lambda found: found[1].replace("'", "").replace(", ", " or "), text)
    text = re.sub(r"tuple\[(.*?), \.\.\.\]", r"list of \1", text)
    return re.sub(r"dict\[(\w+), (\w+)\]", r"mapping of \1 to \2", text).replace(" or null", ", or null")


def _literal(node: ast.stmt | None) -> str:
    text = node.value.value if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else None
    return " ".join(text.split()).replace("``", "`") if isinstance(text, str) else ""


def _prose(of: Any) -> str:
    """Return the docstring as flowing text, its paragraphs kept."""
    paragraphs = (inspect.getdoc(of) or "").split("\n\n")
    return "\n\n".join(" ".join(one.split()).replace("``", "`") for one in paragraphs if one.strip())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
