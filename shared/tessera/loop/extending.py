"""Extend recipes: merge the keys of a file into those of its base, and look deviations up by name."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tessera.errors import BadInput, nearest

NEVER_INHERITED = ("recipe", "description")
"""Keys that are never inherited. A base with a ``recipe`` name of its own can be run as well."""

_NAME = re.compile(r"[a-z0-9_]+")


def resolved(
    chain: Sequence[tuple[str, Mapping[str, Any]]], catalogue: Mapping[str, str], free: bool
) -> dict[str, Any]:
    """Return the whole recipe of ``chain``: the file itself first, then what it extends, then what that extends.

    Each is given by its path, which errors name, and its content.
    Mappings are merged key by key, the nearer file's value last; a mapping with another ``name`` than the base's, a
    list and any other value replace the base's. ``paper.deviations`` are added to those of the base, and
    ``paper.without`` takes inherited ones away; both list names of ``catalogue``, and the result has their texts in
    the catalogue's order. ``free``: a deviation may also be a sentence of the file's own, which comes after them.

    BadInput: an unknown name, a sentence where ``free`` is false, or a deviation taken away that is not inherited.
    """
    whole: dict[str, Any] = {}
    deviations: list[str] = []
    for place, (path, content) in enumerate(reversed(chain)):
        mine = copy.deepcopy(dict(content))
        mine.pop("extends", None)
        paper = mine.get("paper")
        if isinstance(paper, dict):
            try:
                _apply(deviations, paper.pop("deviations", None), paper.pop("without", None), catalogue, free)
            except BadInput as error:
                raise BadInput(f"{path}: {error}") from None
        if place < len(chain) - 1:
            for key in NEVER_INHERITED:
                mine.pop(key, None)
        whole = merged(whole, mine)
    # A ``paper`` that is no mapping is reported by validation.
    if deviations and isinstance(whole.setdefault("paper", {}), dict):
        whole["paper"]["deviations"] = _texts(deviations, catalogue)
    return whole


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the keys of ``over`` put over it, as ``resolved`` says; neither is changed."""
    result = dict(base)
    for key, value in over.items():
        before = result.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping) and _same_name(before, value):
            result[key] = merged(before, value)
        else:
            result[key] = value
    return result


def _same_name(base: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    """Return whether both are of one axis value: parameters of another value would make no sense beside its name."""
    return "name" not in over or over["name"] == base.get("name")


def _apply(found: list[str], added: Any, without: Any, catalogue: Mapping[str, str], free: bool) -> None:
    for entry in _listed("without", without):
        if entry not in found:
            inherited = ", ".join(found) or "none"
            raise BadInput(f"paper.without: {entry!r} is not inherited (inherited: {inherited}); remove it")
        found.remove(entry)
    for entry in _listed("deviations", added):
        named = _NAME.fullmatch(entry) is not None
        if named and entry not in catalogue:
            raise BadInput(f"paper.deviations: unknown name {entry!r}; {nearest(entry, catalogue)}")
        if not named and not free:
            raise BadInput(f"paper.deviations: {entry!r} is a sentence; add it to deviations.yaml and list its name")
        if entry not in found:
            found.append(entry)


def _listed(key: str, given: Any) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise BadInput(f"paper.{key}: give a list of names or sentences (got {given!r})")
    return given


def _texts(found: Sequence[str], catalogue: Mapping[str, str]) -> list[str]:
    return [text for name, text in catalogue.items() if name in found] + [one for one in found if one not in catalogue]
