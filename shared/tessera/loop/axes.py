"""Axis values as a recipe writes them: a registered name with its parameters flat beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, model_serializer, model_validator

from tessera.acquisition import AGGREGATIONS, CONSTRAINTS, FEATURES, PROJECTIONS, SCORES, STAGES
from tessera.errors import BadInput
from tessera.models import ARCHITECTURES
from tessera.pb.common_pb2 import AxisValue
from tessera.queries import FORMATS, ORACLES
from tessera.regions import PARTITIONS
from tessera.registry import Registry, canonical_json
from tessera.training import METHODS, TrainingParams

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Axis(BaseModel):
    """A name and its parameters; reads and writes the flat form ``{name: grid, rows: 4, cols: 4}``."""

    model_config = ConfigDict(frozen=True)

    name: str
    parameters: dict[str, Any]

    @model_validator(mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"name": given, "parameters": {}}
        if not isinstance(given, dict):
            raise ValueError("give a mapping with a name, such as {name: grid, rows: 4, cols: 4}")
        if not isinstance(given.get("name"), str):
            raise ValueError("name is missing; add it")
        # "name" is the key of the registry, so no parameter is ever called that.
        return {"name": given["name"], "parameters": {key: value for key, value in given.items() if key != "name"}}

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        return {"name": self.name, **self.parameters}

    def message(self, **changes: Any) -> AxisValue:
        """Return the wire form, with some parameters replaced; canonical JSON of all of them."""
        return AxisValue(name=self.name, parameters=canonical_json({**self.parameters, **changes}))


def parameters(registry: Registry[F, T], axis: Axis) -> Any:
    """Return the parameters of an axis value, with defaults filled in."""
    return registry.parameters(axis.name, axis.parameters)


KEEP = {"keep": True}
"""Validation context: check parameters, but leave out defaults that were not written."""


def training(method: Axis) -> TrainingParams:
    """Return the parameters of a training method, which say what it needs and leaves."""
    found: TrainingParams = parameters(METHODS, method)
    return found


def _fill(registry: Registry[F, T]) -> Callable[[Axis, ValidationInfo], Axis]:
    def fill(axis: Axis, info: ValidationInfo) -> Axis:
        try:
            parameters = registry.parameters(axis.name, axis.parameters).model_dump(mode="json")
            canonical_json(parameters)
        except BadInput as error:
            raise ValueError(str(error)) from None
        return axis if info.context == KEEP else axis.model_copy(update={"parameters": parameters})

    return fill


Partition = Annotated[Axis, AfterValidator(_fill(PARTITIONS))]
Format = Annotated[Axis, AfterValidator(_fill(FORMATS))]
Oracle = Annotated[Axis, AfterValidator(_fill(ORACLES))]
Score = Annotated[Axis, AfterValidator(_fill(SCORES))]
Aggregation = Annotated[Axis, AfterValidator(_fill(AGGREGATIONS))]
Features = Annotated[Axis, AfterValidator(_fill(FEATURES))]
Projection = Annotated[Axis, AfterValidator(_fill(PROJECTIONS))]
Stage = Annotated[Axis, AfterValidator(_fill(STAGES))]
Constraint = Annotated[Axis, AfterValidator(_fill(CONSTRAINTS))]
Architecture = Annotated[Axis, AfterValidator(_fill(ARCHITECTURES))]
Method = Annotated[Axis, AfterValidator(_fill(METHODS))]
