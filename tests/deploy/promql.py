"""Read the expressions of alerts and of the dashboard: which series they name, and by which labels they group."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser

from deploy.rendering import FOLDER, Resource, one

MONITORING = FOLDER / "components" / "monitoring"
_PARTS = ("lhs", "rhs", "expr", "args", "param", "vector_selector")


@dataclass(frozen=True)
class Series:
    """A vector selector: the metric's name, and its matchers as (label, operator, value); Equal is =."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Expression:
    """An expression, who has it, and the texts that people read beside its result."""

    owner: str
    text: str
    shown: str

    def series(self) -> list[Series]:
        """Every vector selector; ValueError where the expression is no PromQL."""
        return list(_series(promql_parser.parse(self.text)))

    def groups(self) -> Iterator[tuple[str, set[str], list[Series]]]:
        """``by`` or ``on``, the labels by which a part groups or matches, and the series of that part."""
        yield from _groups(promql_parser.parse(self.text))

    def labels_shown(self) -> set[str]:
        """Labels that legend or annotations name."""
        return set(re.findall(r"\$labels\.(\w+)", self.shown)) | set(re.findall(r"\{\{(\w+)\}\}", self.shown))


def alerts() -> list[Expression]:
    """Every alert, as rendered for production."""
    rules: Resource = one("overlays/prod", "PrometheusRule", "tessera")
    found = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    return [Expression(rule["alert"], rule["expr"], json.dumps(rule["annotations"])) for rule in found]


def dashboard() -> dict[str, Any]:
    """The dashboard, as rendered."""
    data: str = one("overlays/prod", "ConfigMap", "tessera-dashboard")["data"]["tessera.json"]
    found: dict[str, Any] = json.loads(data)
    return found


def panels() -> list[Expression]:
    """Every expression of the dashboard."""
    return [
        Expression(panel["title"], target["expr"], target["legendFormat"])
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    ]


def _below(node: Any) -> Iterator[Any]:
    for name in _PARTS:
        part = getattr(node, name, None)
        for each in part if isinstance(part, list) else [part]:
            if each is not None and type(each).__module__.startswith("promql"):
                yield each


def _series(node: Any) -> Iterator[Series]:
    if isinstance(node, promql_parser.VectorSelector):
        matchers = ((one.name, str(one.op).removeprefix("MatchOp."), one.value) for one in node.matchers.matchers)
        yield Series(node.name or "", tuple(matchers))
    for part in _below(node):
        yield from _series(part)


def _groups(node: Any) -> Iterator[tuple[str, set[str], list[Series]]]:
    written = str(getattr(node, "modifier", None) or "")
    for kind, part in re.findall(r"\b(by|on) \(([^)]*)\)", written):
        yield kind, set(re.findall(r"\w+", part)), list(_series(node))
    for part in _below(node):
        yield from _groups(part)
