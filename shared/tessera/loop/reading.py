"""Recipes read from mappings: overrides applied, the schema checked, then the rules that judge a whole recipe."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from tessera.errors import BadInput, nearest
from tessera.loop import axes, pairings
from tessera.loop.recipe import Recipe


def parse(mapping: Any, overrides: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> Recipe:
    """Validate a recipe as read from YAML, with dotted overrides applied (``selection.stages.0.count``).

    BadInput names every offending path, the value given and near names for unknown keys and axis values.
    """
    if not isinstance(mapping, Mapping):
        raise BadInput(f"recipe: expected a mapping at the top (got {type(mapping).__name__})")
    try:
        whole = json.loads(json.dumps(mapping))
    except (TypeError, ValueError) as error:
        raise BadInput(f"recipe: only text, numbers, lists and mappings are allowed ({error})") from None
    for path, value in overrides.items() if isinstance(overrides, Mapping) else overrides:
        _put(whole, path, value)
    recipe = _validated(whole)
    if recipe.paper.targets and recipe.paper.dataset is None:
        raise BadInput(
            f"{recipe.recipe}: paper.targets: published values need the data they are for; "
            "add paper.dataset: {name: NAME, classes: NUMBER}"
        )
    return recipe


def _validated(whole: Any, context: dict[str, bool] | None = None) -> Recipe:
    name = whole.get("recipe", "recipe") if isinstance(whole, dict) else "recipe"
    try:
        recipe = Recipe.model_validate(whole, context=context)
    except ValidationError as error:
        raise BadInput(f"{name}: {_explain(error)}") from None
    problems = list(pairings.problems(recipe))
    if problems:
        raise BadInput(f"{name}: {'; '.join(problems)}")
    return recipe


@functools.lru_cache(maxsize=32)
def from_canonical(text: str) -> Recipe:
    """Read a recipe that ``canonical`` wrote; BadInput when it is not valid here (an axis value of another version).

    Parameters stay exactly as written: a default that a later version adds is filled in where it is computed, so that
    an older run goes on with the same requests.
    """
    try:
        return _validated(json.loads(text), axes.KEEP)
    except json.JSONDecodeError as error:
        raise BadInput(f"recipe: not JSON ({error})") from None


def _put(whole: dict[str, Any], path: str, value: Any) -> None:
    """Set one dotted path; missing mappings are made, so that validation can name an unknown one."""
    *parents, last = path.split(".")
    place: Any = whole
    walked: list[str] = []
    for part in parents:
        walked.append(part)
        place = place[_index(place, part, path)] if isinstance(place, list) else place.setdefault(part, {})
        if not isinstance(place, dict | list):
            raise BadInput(f"--set {path}: {'.'.join(walked)} is {place!r} with nothing inside; set it as a whole")
    if isinstance(place, list):
        place[_index(place, last, path)] = value
    else:
        place[last] = value


def _index(place: list[Any], part: str, path: str) -> int:
    if not part.isdecimal() or int(part) >= len(place):
        raise BadInput(f"--set {path}: {part!r} must be a place in a list of {len(place)}, counted from 0")
    return int(part)


def _explain(error: ValidationError) -> str:
    """Return one clause per problem, with near names from the section of an unknown key."""
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"] if part != "axis")
        prefix = f"{path}: " if path else ""
        if problem["type"] == "extra_forbidden":
            lines.append(f"{path}: unknown key; {nearest(str(problem['loc'][-1]), _keys(problem['loc'][:-1]))}")
        elif problem["type"] == "missing":
            lines.append(f"{path}: missing; add it")
        elif problem["type"] == "value_error":
            lines.append(prefix + str(problem["ctx"]["error"]))
        else:
            lines.append(f"{prefix}{problem['msg']} (got {problem['input']!r})")
    return "; ".join(lines)


def _keys(loc: tuple[int | str, ...]) -> list[str]:
    section: Any = Recipe
    for part in loc:
        fields = getattr(section, "model_fields", {})
        if part in fields:
            annotation = fields[part].annotation
            # Optional sections are unions; the section is the member that has fields.
            members = [member for member in getattr(annotation, "__args__", ()) if hasattr(member, "model_fields")]
            section = members[0] if members else annotation
    return list(getattr(section, "model_fields", {}))
