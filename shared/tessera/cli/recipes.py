"""Recipes by name or path, with ``--set`` overrides."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import tessera
from tessera.errors import BadInput

if TYPE_CHECKING:
    from tessera.loop.recipe import Recipe

MAX_BYTES = 1 << 20


def folders() -> list[Path]:
    """Where recipes are looked for: the repository this package lies in, then the copy inside an installed package."""
    package = Path(tessera.__file__).resolve().parent
    checkout = package.parent.parent
    found = [package / "_recipes"]
    if (checkout / "pyproject.toml").is_file():
        found.insert(0, checkout / "recipes")
    return [folder for folder in found if folder.is_dir()]


def names() -> list[str]:
    """Names of the recipes that come with the project, sorted."""
    return sorted({path.stem for folder in folders() for path in folder.glob("*.yaml")})


def find(name: str) -> Path:
    """Path of a recipe given by name or by path; BadInput with near names otherwise."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name).expanduser()
        if not path.is_file():
            raise BadInput(f"recipe {name}: no such file")
        return path
    for folder in folders():
        if re.fullmatch(r"[\w.-]+", name) and (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    near = difflib.get_close_matches(name, names(), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "see: tessera recipes"
    raise BadInput(f"recipe {name!r}: unknown; {hint} (or give the path of a .yaml file)")


def load(name: str, settings: Iterable[str] = ()) -> Recipe:
    """Read and validate a recipe with ``a.b=value`` overrides (values in YAML); BadInput names file, key and remedy."""
    from tessera.loop.recipe import parse

    path = find(name)
    try:
        return parse(read_yaml(path), overrides(settings))
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def read_yaml(path: Path) -> Any:
    """Content of a small YAML file; BadInput with line and column when it is not YAML."""
    if path.stat().st_size > MAX_BYTES:
        raise BadInput(f"{path}: larger than {MAX_BYTES >> 20} MiB; that is not a recipe")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadInput(
            f"{path}{where}: not valid YAML ({getattr(error, 'problem', None) or type(error).__name__})"
        ) from None


def overrides(settings: Iterable[str]) -> list[tuple[str, Any]]:
    """Parse ``a.b=value``; the value is YAML, so numbers, lists and mappings can be given."""
    parsed: list[tuple[str, Any]] = []
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", path):
            raise BadInput(f"--set {setting!r}: write a.b=value, such as --set training.epochs=10")
        try:
            parsed.append((path, yaml.safe_load(text)))
        except yaml.YAMLError:
            raise BadInput(f"--set {path}: {text!r} is not a value in YAML; quote it") from None
    return parsed


def run_id(recipe: Recipe, seed: int, dataset: str) -> str:
    """Name of a run, ``<recipe>-s<seed>-<8 hex>``: equal recipe, parameters, data set and seed give the same name."""
    digest = hashlib.sha256("\n".join([recipe.canonical(), dataset, str(seed)]).encode()).hexdigest()
    # Dots part the tokens of a NATS subject.
    return f"{recipe.recipe.replace('.', '_')}-s{seed}-{digest[:8]}"
