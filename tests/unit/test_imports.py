"""No module of tessera imports itself through others: at its top, for type checking, or inside a function."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared"


def modules() -> dict[str, Path]:
    found = {}
    for path in (SHARED / "tessera").rglob("*.py"):
        parts = path.relative_to(SHARED).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, source: str, known: set[str], package: bool) -> set[str]:
    """Modules of ``known`` that a module imports, wherever the import stands; ``from package import module`` too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = name.split(".") if package else name.split(".")[:-1]
            here = parts[: len(parts) - node.level + 1] if node.level else []
            origin = ".".join([*here, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                found.add(inner if inner in known else origin)
    return (found & known) - {name}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of imports; empty when there is none."""
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_through_others() -> None:
    found = modules()
    graph = {
        name: imports(name, path.read_text(), set(found), path.name == "__init__.py") for name, path in found.items()
    }
    assert len(graph) > 200
    assert not circle(graph), " is imported by ".join(circle(graph))


def test_a_circle_is_found_wherever_its_imports_stand() -> None:
    known = {"p", "p.a", "p.b", "p.c"}
    sources = {
        "p.a": "def f():\n    from p import b\n",
        "p.b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .c import X\n",
        "p.c": "import p.a\n",
    }
    graph = {name: imports(name, source, known, package=False) for name, source in sources.items()}
    assert graph == {"p.a": {"p.b"}, "p.b": {"p.c"}, "p.c": {"p.a"}}
    assert set(circle(graph)) == {"p.a", "p.b", "p.c"}
    assert not circle(graph | {"p.b": set()})
