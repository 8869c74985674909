"""Recipe files that extend others: find the base of a recipe, and read the whole recipe."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import yaml

import tessera
from tessera.cli.yaml_text import parse
from tessera.datasets.files import read_text
from tessera.errors import BadInput, nearest
from tessera.loop.extending import resolved

MAX_BYTES = 1 << 20
MAX_DEPTH = 8
"""Most files in one chain of ``extends``."""

DEVIATIONS = "deviations.yaml"


def folders() -> list[Path]:
    """Return the folders searched for recipes: this package's repository, then the installed copy."""
    package = Path(tessera.__file__).resolve().parent
    checkout = package.parent.parent
    found = [package / "_recipes"]
    if (checkout / "pyproject.toml").is_file():
        found.insert(0, checkout / "recipes")
    return [folder for folder in found if folder.is_dir()]


def names() -> list[str]:
    """Return the names of the recipes that come with the project, sorted."""
    return sorted({path.stem for folder in folders() for path in folder.glob("*.yaml") if path.name != DEVIATIONS})


def bases() -> list[str]:
    """Return the names of the project's bases, sorted; recipes extend them and nobody runs them."""
    return sorted({path.stem for folder in folders() for path in (folder / "bases").glob("*.yaml")})


def shipped(name: str) -> Path | None:
    """Return the path of the project's recipe or base of this name, or None."""
    if re.fullmatch(r"[\w.-]+", name) and name not in {"deviations", ".", ".."}:
        for folder in folders():
            for path in (folder / f"{name}.yaml", folder / "bases" / f"{name}.yaml"):
                if path.is_file():
                    return path
    return None


def whole(path: Path) -> dict[str, Any]:
    """Read the recipe at ``path`` with everything that it extends; deviations as sentences.

    BadInput names the file at fault: not YAML or no mapping, an unknown base, a base outside the folder, files that
    extend each other in a circle or more than ``MAX_DEPTH`` deep, an unknown deviation.
    """
    files = _chain(path)
    ours = any(path.resolve().is_relative_to(folder.resolve()) for folder in folders())
    return resolved([(str(one), content) for one, content in files], catalogue(), free=not ours)


def catalogue() -> dict[str, str]:
    """Return the sentence of every deviation that recipes list by name, in the order of printing."""
    return _catalogue(folders()[0] / DEVIATIONS)


@functools.cache
def _catalogue(path: Path) -> dict[str, str]:
    found = read_yaml(path)
    if not isinstance(found, dict) or not all(isinstance(one, str) for pair in found.items() for one in pair):
        raise BadInput(f"{path}: give one sentence per name")
    return found


def _chain(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    files: list[tuple[Path, dict[str, Any]]] = []
    while True:
        met = [one.resolve() for one, _ in files]
        if path.resolve() in met:
            circle = " → ".join(one.stem for one, _ in [*files[met.index(path.resolve()) :], (path, {})])
            raise BadInput(f"{files[-1][0]}: extends: {circle} is a circle; a recipe cannot extend itself")
        if len(files) == MAX_DEPTH:
            raise BadInput(f"{files[0][0]}: extends: more than {MAX_DEPTH} files deep; extend a nearer base")
        content = read_yaml(path)
        if not isinstance(content, dict):
            raise BadInput(f"{path}: recipe: expected a mapping at the top (got {type(content).__name__})")
        files.append((path, content))
        if "extends" not in content:
            return files
        path = _extended(content["extends"], path)


def _extended(name: Any, by: Path) -> Path:
    """Return the file that ``extends: name`` in file ``by`` refers to: a name of the project, or a file beside it."""
    if not isinstance(name, str) or not name:
        raise BadInput(f"{by}: extends: give one name or the path of one file beside it (got {name!r})")
    folder = by.resolve().parent
    if not name.endswith((".yaml", ".yml")):
        found = shipped(name)
        if found is None:
            hint = nearest(name, [*names(), *bases()])
            raise BadInput(
                f"{by}: extends: unknown recipe or base {name!r}; {hint} (or write the path of a .yaml file)"
            )
        # The project's own folder; links out of it are refused as those out of a user's folder are.
        path = found
        folder = next(one for one in folders() if found.is_relative_to(one)).resolve()
    else:
        path = folder / name
    if not path.resolve().is_relative_to(folder):
        raise BadInput(f"{by}: extends: {name} leads out of the folder {folder}; put the file beside the recipe")
    if not path.is_file():
        raise BadInput(f"{by}: extends: {name}: no such file")
    return path


def read_yaml(path: Path) -> Any:
    """Return the content of a small YAML file; BadInput with line and column when it is not YAML."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path}: larger than {MAX_BYTES >> 20} MiB; that is not a recipe")
        return parse(read_text(path))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadInput(f"{path}{where}: not valid YAML ({getattr(error, 'problem', None) or error})") from None
