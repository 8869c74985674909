"""A recipe: one point of partition × query × score × selection × training, with every parameter.

``parse`` takes what a YAML file said and the user's overrides; ``Recipe.canonical`` is what a run carries.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer, model_validator

from tessera.acquisition import FEATURES, SCORES, STAGES
from tessera.errors import BadInput, nearest
from tessera.loop import asking, axes, pairings
from tessera.loop.budget import UNITS
from tessera.loop.stopping import Stop
from tessera.registry import canonical_json

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _WithAxis(_Section):
    """A section that is one axis value (field ``axis``) with a few keys of its own beside the axis' parameters."""

    @model_validator(mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            raise ValueError("give a mapping with a name")
        own = {field.alias or key for key, field in cls.model_fields.items()} - {"axis"}
        axis = {key: value for key, value in given.items() if key not in own}
        return {"axis": axis, **{key: value for key, value in given.items() if key in own}}

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        axis: axes.Axis = self.axis  # type: ignore[attr-defined]  # every subclass declares it
        own = {key: getattr(self, key) for key in type(self).model_fields if key != "axis"}
        return {"name": axis.name, **axis.parameters, **own}


class Paper(_Section):
    """Where the recipe comes from: its published values and how this run differs from the paper."""

    title: str = ""
    table: str = ""
    targets: dict[str, Finite] = {}
    deviations: tuple[str, ...] = ()


class DatasetChoice(_Section):
    """A data set by name, with the parameters of a generated one."""

    name: str
    parameters: dict[str, Any] = {}


class ModelChoice(_WithAxis):
    """The architecture and its start: ``imagenet``, ``random`` or a path to backbone weights."""

    axis: axes.Architecture
    pretrained: str = "imagenet"


class ScoreChoice(_WithAxis):
    """One score column: a per-pixel score and the aggregation that makes it one number a region, or one a class.

    ``aggregate`` is a name, or a mapping with the aggregation's parameters. ``column`` names the column; unless given
    it is ``<score>_<aggregate>``, which two parametrisations of one score have to share out. Where score or aggregation
    has a value a class, the table holds ``<column>_0`` … ``<column>_{C-1}``.
    """

    axis: axes.Score
    aggregate: axes.Aggregation = Field(default=axes.Axis.model_validate("mean"))
    given: str | None = Field(default=None, alias="column", pattern=r"^[a-z][a-z0-9_]{0,63}$")

    @property
    def column(self) -> str:
        """Name of the column in score tables and in ``by``."""
        return self.given or f"{self.axis.name}_{self.aggregate.name}"

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        # A bare name and no column, where possible: what recipes of the first version say.
        aggregate = {"name": self.aggregate.name, **self.aggregate.parameters}
        flat = {"name": self.axis.name, **self.axis.parameters}
        flat["aggregate"] = aggregate if self.aggregate.parameters else self.aggregate.name
        return flat if self.given is None else flat | {"column": self.given}


class Embedding(_Section):
    """The space that selection works in: which features, which projection, and what the projection is fitted on."""

    features: axes.Features
    projection: axes.Projection
    # bank: the memory bank that the round before left (training.memory_bank).
    fit_on: Literal["pool", "shortlist", "bank"]
    # Made only to look at what was chosen (summary and report): no stage uses it.
    watch: bool = False

    @property
    def refits(self) -> bool:
        """Whether a fit on the pool is made anew each round: the head's features change with every training."""
        return self.fit_on == "pool" and FEATURES.entry(self.features.name).traits.needs_head


class Selection(_Section):
    """The first set, what gets embedded (all, or a shortlist), and the stages that choose a round's regions.

    ``constraints`` hold between the regions that the stages choose in a round; the first set is free of them.
    """

    initial: tuple[axes.Stage, ...] = Field(min_length=1)
    shortlist: tuple[axes.Stage, ...] = ()
    embedding: Embedding | None = None
    stages: tuple[axes.Stage, ...] = ()
    constraints: tuple[axes.Constraint, ...] = ()

    @property
    def needs_labelled(self) -> bool:
        """Whether a stage measures distances to the regions labelled so far."""
        return any(STAGES.entry(one.name).traits.needs_labelled_embedding for one in self.stages)


class BudgetChoice(_Section):
    """How much is labelled after the first set: ``rounds`` times ``per_round`` of ``unit``.

    ``initial`` cuts the first set as well; without it the initial stages alone say how much that is.
    """

    unit: str = "regions"
    initial: Annotated[Finite, Field(gt=0)] | None = None
    per_round: Finite = Field(default=1, gt=0)
    rounds: int = Field(ge=0)

    @model_validator(mode="after")
    def _unit(self) -> BudgetChoice:
        if self.unit not in UNITS:
            raise ValueError(f"unknown unit {self.unit!r}; {nearest(self.unit, UNITS)}")
        for problem in asking.whole_amounts(self.unit, {"initial": self.initial, "per_round": self.per_round}):
            raise ValueError(problem)
        return self


class RuntimeChoice(_Section):
    """How the work is cut; never changes a result."""

    shard_images: int = Field(default=16, ge=1, le=4096)


class Recipe(_Section):
    """A validated recipe with all defaults filled in."""

    recipe: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    description: str = ""
    paper: Paper = Paper()
    dataset: DatasetChoice
    partition: axes.Partition
    query: axes.Format
    oracle: axes.Oracle
    model: ModelChoice
    score: tuple[ScoreChoice, ...] = ()
    selection: Selection
    budget: BudgetChoice
    training: axes.Method
    stop: Stop | None = None
    checkpoint: Literal["last", "best_val"] = "last"
    evaluate: tuple[Literal["val", "test"], ...] = Field(default=("val", "test"), min_length=1)
    runtime: RuntimeChoice = RuntimeChoice()

    @model_validator(mode="after")
    def _pairings(self) -> Recipe:
        problems = list(pairings.problems(self))
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def canonical(self) -> str:
        """Canonical JSON with every default filled in; ``from_canonical`` reads it back to an equal recipe."""
        return canonical_json(self.model_dump(mode="json"))

    def needs_model(self) -> bool:
        """Whether any score column runs the model."""
        return any(SCORES.entry(one.axis.name).traits.needs_model for one in self.score)


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
    return _validated(whole)


def _validated(whole: Any, context: dict[str, bool] | None = None) -> Recipe:
    try:
        return Recipe.model_validate(whole, context=context)
    except ValidationError as error:
        name = whole.get("recipe", "recipe") if isinstance(whole, dict) else "recipe"
        raise BadInput(f"{name}: {_explain(error)}") from None


@functools.lru_cache(maxsize=32)
def from_canonical(text: str) -> Recipe:
    """Read a recipe that ``canonical`` wrote; BadInput when it is not valid here (an axis value of another version).

    Parameters stay exactly as written: a default that a later version adds is filled in by whoever computes, so that a
    run which began before it goes on with the same requests.
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
    """One clause a problem, with near names from the section where an unknown key stands."""
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
