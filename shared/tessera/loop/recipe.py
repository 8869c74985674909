"""Schema of a recipe: one point of partition × query × score × selection × training, with every parameter.

``reading.parse`` makes one of a mapping and judges it by the rules that stand above (``pairings``);
``Recipe.canonical`` is what a run carries.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from tessera.acquisition import FEATURES, SCORES, STAGES
from tessera.errors import nearest
from tessera.loop import axes
from tessera.registry import canonical_json, refuse_boolean_number
from tessera.units import BUDGETS, UNITS

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _number(cls, value: Any, info: ValidationInfo) -> Any:
        return refuse_boolean_number(cls.model_fields[info.field_name or ""].annotation, value)


class _WithAxis(_Section):
    """A section that is one axis value (field ``axis``) with a few more keys beside its parameters."""

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


class TargetData(_Section):
    """The data set that published values are for: its name and number of classes."""

    name: str
    classes: int = Field(ge=1)


class Paper(_Section):
    """Where the recipe comes from: its published values and how this run differs from the paper."""

    title: str = ""
    table: str = ""
    """Where in the paper the values stand."""
    targets: dict[str, Finite] = {}
    """Published values by split and measure: ``val_miou: 0.558`` after the last round, ``val_miou_at_30`` at 30 % of
    the pool, ``val_miou_at_100000_clicks``, ``val_auc_50``."""
    dataset: TargetData | None = None
    """The data of ``targets``; they say nothing about runs on other data."""
    deviations: tuple[str, ...] = ()
    """How this recipe differs from the paper. Files list names of ``recipes/deviations.yaml``; yours may also give
    sentences."""

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> Any:
        # Recipes without it read as before this field existed.
        return {key: value for key, value in handler(self).items() if key != "dataset" or value is not None}


class DatasetChoice(_Section):
    """A data set by name, with the parameters of a generated one."""

    name: str
    parameters: dict[str, Any] = {}


class ModelChoice(_WithAxis):
    """The architecture and its start: ``imagenet``, ``random`` or a path to backbone weights."""

    axis: axes.Architecture
    pretrained: str = "imagenet"


class ScoreChoice(_WithAxis):
    """One score column: a per-pixel score and the aggregation that makes it one number per region, or one per class.

    ``aggregate`` is a name, or a mapping with the aggregation's parameters. ``column`` names the column; unless given
    it is ``<score>_<aggregate>``, so two parametrisations of one score need names of their own. Where score or
    aggregation has one value per class, the table holds ``<column>_0`` … ``<column>_{C-1}``.
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
        # A bare name and no column, where possible, as in recipes of the first version.
        aggregate = {"name": self.aggregate.name, **self.aggregate.parameters}
        flat = {"name": self.axis.name, **self.axis.parameters}
        flat["aggregate"] = aggregate if self.aggregate.parameters else self.aggregate.name
        return flat if self.given is None else flat | {"column": self.given}


class Embedding(_Section):
    """The space that selection works in: which features, which projection, and what the projection is fitted on."""

    features: axes.Features
    projection: axes.Projection
    fit_on: Literal["pool", "shortlist", "bank"]
    """All regions, the candidates of each round, or the memory bank that the round before left
    (``training.memory_bank``)."""
    watch: bool = False
    """True: computed only for summary and report; no stage uses it."""

    @property
    def refits(self) -> bool:
        """Whether a fit on the pool is made anew each round: the head's features change with every training."""
        return self.fit_on == "pool" and FEATURES.entry(self.features.name).traits.needs_head


class Selection(_Section):
    """How regions are chosen: first by ``initial``, then in every round by ``stages``."""

    initial: tuple[axes.Stage, ...] = Field(min_length=1)
    """Stages that choose the first set, before any model is trained."""
    shortlist: tuple[axes.Stage, ...] = ()
    """Stages that choose the candidates of a round, which alone are embedded; empty: all regions are candidates."""
    embedding: Embedding | None = None
    stages: tuple[axes.Stage, ...] = ()
    """Stages that choose a round's regions."""
    constraints: tuple[axes.Constraint, ...] = ()
    """Rules between the regions of one round; they do not apply to the first set."""

    @property
    def needs_labelled(self) -> bool:
        """Whether a stage measures distances to the regions labelled so far."""
        return any(STAGES.entry(one.name).traits.needs_labelled_embedding for one in self.stages)


class BudgetChoice(_Section):
    """How much is labelled after the first set: ``rounds`` times ``per_round`` of ``unit``.

    ``initial`` limits the first set as well; without it the initial stages alone decide its size.
    """

    unit: str = "regions"
    """See ``budget.unit``."""
    initial: Annotated[Finite, Field(gt=0)] | None = None
    per_round: Finite = Field(default=1, gt=0)
    rounds: int = Field(ge=0)

    @model_validator(mode="after")
    def _unit(self) -> BudgetChoice:
        if self.unit not in BUDGETS:
            raise ValueError(f"unknown unit {self.unit!r}; {nearest(self.unit, BUDGETS)}")
        for name, amount in (("initial", self.initial), ("per_round", self.per_round)):
            if amount is not None and UNITS[self.unit].whole and amount != int(amount):
                raise ValueError(f"{name} counts {self.unit} and must be whole (got {amount})")
        return self


class EvaluationSet(_Section):
    """Random images that are set aside and labelled first, with masks, where the data set has no labelled val images:
    the run is evaluated on them as val. ``seed`` draws them, so that runs which are compared have the same."""

    images: int = Field(ge=1, le=100_000)
    seed: int = Field(default=0, ge=0)


class RuntimeChoice(_Section):
    """How the work is divided; never changes a result."""

    shard_images: int = Field(default=16, ge=1, le=4096)


def _steering(split: str) -> str:
    if split != "val":
        why = (
            "a run that stops by test reports a number it was stopped for; test is only measured"
            if split == "test"
            else "only val can be measured for it"
        )
        raise ValueError(f"{split!r} cannot stop a run: {why}; use val")
    return split


class Plateau(_Section):
    """The best of the last ``rounds`` rounds is not ``by`` better than the best before them, by mIoU (accuracy, where
    images are classified)."""

    rounds: int = Field(ge=1)
    by: float = Field(default=0.0, ge=0.0, le=1.0, allow_inf_nan=False)


class Stop(_Section):
    """``miou`` or ``accuracy``: end with the first round that reaches it. Rounds that are not run are not labelled
    either."""

    split: Annotated[str, AfterValidator(_steering)] = "val"
    miou: float | None = Field(default=None, gt=0.0, le=1.0, allow_inf_nan=False)
    accuracy: float | None = Field(
        default=None, gt=0.0, le=1.0, allow_inf_nan=False, exclude_if=lambda value: value is None
    )
    """Share of pixels, or, where images are classified, of images. Left out of canonical recipes where it is null."""
    plateau: Plateau | None = None


class Recipe(_Section):
    """A validated recipe with all defaults filled in."""

    recipe: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    """Its name: small letters, digits and _ . -"""
    description: str = ""
    """Which regions are labelled next, in one line; ``tessera recipes`` prints it."""
    paper: Paper = Paper()
    dataset: DatasetChoice
    partition: axes.Partition
    """How images are cut into regions."""
    query: axes.Format
    """The question that annotators answer about a region."""
    oracle: axes.Oracle
    """Who answers."""
    model: ModelChoice
    score: tuple[ScoreChoice, ...] = ()
    """Score columns that stages may read; all are made in one pass over the pixels."""
    selection: Selection
    budget: BudgetChoice
    training: axes.Method
    """How each round trains."""
    stop: Stop | None = None
    """When the run ends before its budget does; null: never."""
    checkpoint: Literal["last", "best_val"] = "last"
    """Which epoch of a training is evaluated. ``best_val`` takes the best on val, whose numbers are then biased."""
    acquisition_model: Literal["last", "kept"] = "last"
    """Which weights choose the next questions: those of the last epoch, or those that ``checkpoint`` keeps.

    Under ``best_val``, ``kept`` lets val steer what is labelled. Under ``last`` the two are the same.
    """
    evaluate: tuple[Literal["val", "test"], ...] = Field(default=("val", "test"), min_length=1)
    """Splits that every round is evaluated on."""
    evaluation: EvaluationSet | None = Field(default=None, exclude_if=lambda value: value is None)
    """The evaluation set to ask for where the data set has no labelled val images. Left out of canonical recipes where
    it is null."""
    runtime: RuntimeChoice = RuntimeChoice()

    def canonical(self) -> str:
        """Return the canonical JSON with every default filled in; ``from_canonical`` reads it as an equal recipe."""
        whole = self.model_dump(mode="json")
        if not self.acquires_last:
            # Left out, as in recipes of versions without this choice; ``_acquisition`` fills it in.
            del whole["acquisition_model"]
        return canonical_json(whole)

    @property
    def acquires_last(self) -> bool:
        """Return whether other weights acquire than those that are evaluated."""
        return self.checkpoint == "best_val" and self.acquisition_model == "last"

    @model_validator(mode="before")
    @classmethod
    def _acquisition(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, dict):
            return given
        if given.get("checkpoint", "last") == "last" and given.get("acquisition_model") == "kept":
            return {**given, "acquisition_model": "last"}
        if given.get("checkpoint") == "best_val" and info.context == axes.KEEP:
            return {"acquisition_model": "kept", **given}
        return given

    def needs_model(self) -> bool:
        """Return whether any score column runs the model."""
        return any(SCORES.entry(one.axis.name).traits.needs_model for one in self.score)
