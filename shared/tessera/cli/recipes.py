"""Recipes by name or path, with ``--set`` overrides."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tessera.cli.extending import bases, names, shipped, whole
from tessera.cli.yaml_text import parse as parse_yaml
from tessera.errors import BadInput, nearest

if TYPE_CHECKING:
    from tessera.loop.recipe import Recipe


def find(name: str) -> Path:
    """Return the path of a recipe given by name or by path; BadInput with near names otherwise."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name).expanduser()
        if not path.is_file():
            what = "not a regular file" if path.exists() else "no such file"
            raise BadInput(f"recipe {name}: {what}")
        return path
    found = shipped(name)
    if found is None:
        raise BadInput(f"recipe {name!r}: unknown; {_hint(name)} (or give the path of a .yaml file)")
    return found


def _hint(name: str) -> str:
    hint = nearest(name, names())
    return hint if hint.startswith("did you mean") else "see: tessera recipes"


def load(name: str, settings: Iterable[str] = ()) -> Recipe:
    """Read and validate a recipe with ``a.b=value`` overrides (values in YAML); BadInput names file, key and remedy.

    Overrides apply to the whole recipe, after everything that it extends.
    """
    from tessera.loop.reading import parse

    path, changes = find(name), overrides(settings)
    content = whole(path)
    if "recipe" not in content:
        what = f"{name} is a base" if path.stem in bases() else "the file has no name and is a base"
        raise BadInput(f"{path}: recipe: missing; {what} for recipes to extend. To run it, give it a recipe: NAME")
    for key, _ in changes:
        if key == "extends" or key == "paper.without":
            raise BadInput(f"--set {key}: only a file can say that; write a recipe that extends {path.stem}")
    try:
        return parse(content, changes)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def described(name: str) -> str:
    """Return the description of a recipe of the project, on one line."""
    return " ".join(str(whole(find(name)).get("description", "")).split())


def overrides(settings: Iterable[str]) -> list[tuple[str, Any]]:
    """Parse ``a.b=value``; the value is YAML, so numbers, lists and mappings can be given."""
    parsed: list[tuple[str, Any]] = []
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", path):
            raise BadInput(f"--set {setting!r}: write a.b=value, such as --set training.epochs=10")
        try:
            parsed.append((path, parse_yaml(text)))
        except yaml.YAMLError:
            raise BadInput(f"--set {path}: {text!r} is not a value in YAML; quote it") from None
    return parsed


def run_id(recipe: Recipe, seed: int, dataset: str) -> str:
    """Return the run's name, ``<recipe>-s<seed>-<8 hex>``, the same for equal recipe, parameters, data and seed."""
    digest = hashlib.sha256("\n".join([recipe.canonical(), dataset, str(seed)]).encode()).hexdigest()
    # Dots separate the tokens of a NATS subject.
    return f"{recipe.recipe.replace('.', '_')}-s{seed}-{digest[:8]}"
