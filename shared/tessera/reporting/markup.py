"""HTML and SVG elements that escape text by default."""

from __future__ import annotations

import html
from typing import TypeAlias


class Markup(str):
    """A string that is already markup; everything else is escaped where it is inserted."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Markup | list[Markup] | None"

_VOID = frozenset({"meta", "img", "input", "br"})


def escape(value: object) -> Markup:
    """Escape text for element content and quoted attributes."""
    return Markup(html.escape(str(value), quote=True))


def el(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """Build one element; ``class_`` and ``stroke_width`` become ``class`` and ``stroke-width``; None is left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-") if key != "viewBox" else key}="{escape(number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{join(children)}</{name}>")


def join(children: tuple[Child, ...] | list[Markup]) -> Markup:
    """Concatenate children, escaping what is not markup."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, list):
            parts.append(join(child))
        elif child is not None:
            parts.append(child if isinstance(child, Markup) else escape(child))
    return Markup("".join(parts))


def number(value: object) -> str:
    """Write floats with at most two decimals: coordinates need no more and the page stays small."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
