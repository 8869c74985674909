"""Registries: how a name in a recipe finds its implementation.

An axis value is one module inside the axis' package; adding the file adds the value. A module stays cheap to import (no
torch, numba or umap at module level) because recipes are validated by processes without them.
"""

from __future__ import annotations

import difflib
import importlib
import json
import pkgutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from tessera.errors import BadInput


def refuse_boolean_number(annotation: Any, value: Any) -> Any:
    """Return the value of a field; ValueError for yes or no where a number belongs: pydantic takes them for 1 and 0."""
    if isinstance(value, bool):
        types = _types(annotation)
        if types & {int, float} and bool not in types:
            raise ValueError("give a number, not yes or no")
    return value


class Params(BaseModel):
    """Parameters of one axis value; unknown keys are refused, defaults are the paper's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _number(cls, value: Any, info: ValidationInfo) -> Any:
        return refuse_boolean_number(cls.model_fields[info.field_name or ""].annotation, value)


P = TypeVar("P", bound=Params)
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


@dataclass(frozen=True)
class NoTraits:
    """Traits of an axis whose values have none."""


@dataclass(frozen=True)
class Registered(Generic[F, T]):
    """One registered axis value: its name, its parameter model, its implementation and its traits."""

    name: str
    params: type[Params]
    function: F
    # Properties that planner and recipe rules read, such as whether a score needs a model.
    traits: T


class Registry(Generic[F, T]):
    """Name → registered value of one axis; loads every module of ``package`` on first use.

    ``F`` is the type of the implementations. ``T``, the class ``traits``, is a frozen dataclass: its fields are the
    traits of a value, with the default of each.
    """

    def __init__(self, axis: str, package: str, traits: type[T]) -> None:
        self.axis = axis
        self._package = package
        self._traits = traits
        self._entries: dict[str, Registered[F, T]] = {}
        self._loaded = False
        self._lock = threading.RLock()

    def register(self, name: str, params: type[Params], traits: T | None = None) -> Callable[[F], F]:
        """Register the decorated function under ``name``; without ``traits`` every trait has its default."""

        def add(function: F) -> F:
            self._entries[name] = Registered(name, params, function, self._traits() if traits is None else traits)
            return function

        return add

    def _load(self) -> None:
        # A second thread waits until all names are there; the modules themselves may ask while they are loaded.
        with self._lock:
            if not self._loaded:
                self._loaded = True
                package = importlib.import_module(self._package)
                for module in pkgutil.iter_modules(package.__path__):
                    importlib.import_module(f"{self._package}.{module.name}")

    def names(self) -> list[str]:
        """Return every registered name, sorted."""
        self._load()
        return sorted(self._entries)

    def entry(self, name: str) -> Registered[F, T]:
        """Return the entry of ``name``; BadInput with the nearest known names otherwise."""
        self._load()
        if name not in self._entries:
            near = difflib.get_close_matches(name, self._entries, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(self.names())}"
            raise BadInput(f"{self.axis}: unknown name {name!r}; {hint}")
        return self._entries[name]

    def parameters(self, name: str, given: dict[str, Any] | str) -> Params:
        """Return the validated parameters of ``name``; ``given`` is a dict or a JSON object. BadInput names the
        field."""
        entry = self.entry(name)
        try:
            if isinstance(given, str):
                return entry.params.model_validate_json(given or "{}")
            return entry.params.model_validate(given)
        except ValidationError as error:
            raise BadInput(validation_message(f"{self.axis}.{name}", error, entry.params)) from None

    def canonical(self, name: str, given: dict[str, Any]) -> str:
        """Return the canonical JSON of the parameters with defaults filled in, as in requests and job keys."""
        return canonical_json(self.parameters(name, given).model_dump(mode="json"))


def _types(annotation: Any) -> set[Any]:
    """Return the types that an annotation names, at any depth."""
    return {annotation}.union(*map(_types, get_args(annotation))) if get_args(annotation) else {annotation}


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no white space; NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def validation_message(where: str, error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Return one line per problem: the path of the field, the value, the reason, and near names for unknown keys."""
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in (where, *problem["loc"]) if str(part))
        if problem["type"] == "extra_forbidden":
            known = sorted(model.model_fields) if model is not None else []
            near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            lines.append(f"{path}: unknown key{hint}")
        elif problem["type"] == "missing":
            lines.append(f"{path}: missing; add it")
        else:
            lines.append(f"{path}: {problem['msg']} (got {problem['input']!r})")
    return "; ".join(lines)
