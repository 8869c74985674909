"""Training methods: one loop, one module per method; importing this package does not import torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tessera.errors import BadInput
from tessera.registry import Registry
from tessera.training.artefacts import Artefact, Planes, Tensors
from tessera.training.history import Epoch, Part, Trained
from tessera.training.params import TrainingParams
from tessera.training.phase import Method, Setup, State
from tessera.training.samples import Needs, PartialSample, Picture, Sample, TrainingData, Unlabelled

if TYPE_CHECKING:
    from tessera.models.network import SegmentationNetwork
    from tessera.training.distributed import Processes
    from tessera.training.state import LoopState

Progress = Callable[[float, str], None]
"""function(finished fraction in 0..1, note), called while training."""


@dataclass(frozen=True)
class MethodTraits:
    """State what holds of a training method whatever its parameters; `TrainingParams` states what depends on them."""

    learns_classes: bool = False
    """Whether it learns from answers that are a set of classes per region, without pixels."""
    several_processes: bool = False
    """Whether several processes may share its steps (`tessera.training.distributed`): every loss is a mean over what
    `Update.counts` or `Update.weight` counts, all draws are for the whole batch, and other state is equal in all."""


METHODS: Registry[Method, MethodTraits] = Registry("training", "tessera.training.methods", MethodTraits)
"""Method name → function(params, setup) that yields phases; docs/training.md shows how one is added."""

CHECKPOINT_POLICIES = ("last", "best_val")
ACQUISITION_MODELS = ("kept", "last")


def parameters(name: str, given: dict[str, Any] | str) -> TrainingParams:
    """Return the validated parameters of a method; BadInput as in `Registry.parameters`."""
    params = METHODS.parameters(name, given)
    assert isinstance(params, TrainingParams)  # noqa: S101 - every method's parameters are; a test holds it
    return params


def can_be_parted(name: str, params: TrainingParams) -> bool:
    """Return whether several processes may share the steps of a method with these parameters."""
    alone = params.decodes_cells() or params.compiles()
    return METHODS.entry(name).traits.several_processes and not alone


def train(
    name: str,
    params_json: str,
    model: SegmentationNetwork,
    samples: TrainingData | Sequence[Sample],
    seed: int,
    classes: int,
    val: Sequence[Sample] | None = None,
    checkpoint_policy: str = "last",
    progress: Progress | None = None,
    device: str = "cpu",
    acquisition_model: str = "kept",
    previous: State | None = None,
    clock: Callable[[], float] | None = None,
    state: LoopState | None = None,
    save: Callable[[LoopState], None] | None = None,
    due: Callable[[], bool] = lambda: True,
    measured: SegmentationNetwork | None = None,
    group: Processes | None = None,
) -> Trained:
    """Train copies of ``model`` by the method ``name``: the backbone starts as given, the head is drawn from ``seed``.

    Bit for bit repeatable on CPU for the same seed, inputs and number of threads. ``best_val`` measures ``val`` after
    every epoch and reports the first best. ``acquisition_model`` says which weights choose the next questions: those
    ``kept`` for the report, or the ``last``. ``clock`` (seconds) serves the words of the progress alone. ``save`` is
    given, after every epoch that is ``due``, the ``state`` with which a later call goes on from there and ends in the
    same weights. ``measured``: what the reported network is copied from, where its architecture differs. ``group``: the
    processes that train together, each on its ``device``; see `MethodTraits.several_processes`. BadInput: no samples,
    shapes that differ within a sample, classes out of range, a policy without what it needs, divergence.
    """
    import torch

    from tessera.training.checks import check, check_partial, check_whole_images
    from tessera.training.distributed import ALONE
    from tessera.training.loop import run

    params = parameters(name, params_json)
    if group is not None and group.size > 1 and not can_be_parted(name, params):
        raise BadInput(
            f"training {name}: its steps cannot be parted; train in one process (TESSERA_TRAINING_PROCESSES=1)"
        )
    data = samples if isinstance(samples, TrainingData) else TrainingData(samples=samples, whole=samples)
    if params.needs().view == "regions":
        check_partial(data.partial, classes)
    else:
        check(data.samples, classes, "training")
        if model.head.whole_image:
            check_whole_images(data)
    check(val or (), classes, "validation", needed=checkpoint_policy == "best_val")
    for place, value, known in (
        ("checkpoint", checkpoint_policy, CHECKPOINT_POLICIES),
        ("acquisition_model", acquisition_model, ACQUISITION_MODELS),
    ):
        if value not in known:
            raise BadInput(f"{place}: unknown policy {value!r}; known: {', '.join(known)}")
    setup = Setup(
        data=data,
        classes=classes,
        seed=seed,
        device=torch.device(device),
        network=lambda: copy.deepcopy(model),
        progress=progress or (lambda _fraction, _note: None),
        previous=previous,
        measured=None if measured is None else lambda: copy.deepcopy(measured),
        group=group or ALONE,
    )
    phases = METHODS.entry(name).function(params, setup)
    return run(
        phases,
        params.phases(),
        setup,
        val if checkpoint_policy == "best_val" else None,
        acquisition_model,
        clock,
        state,
        save,
        due,
    )


__all__ = [
    "ACQUISITION_MODELS",
    "CHECKPOINT_POLICIES",
    "METHODS",
    "Artefact",
    "Epoch",
    "MethodTraits",
    "Needs",
    "Part",
    "PartialSample",
    "Picture",
    "Planes",
    "Progress",
    "Sample",
    "Tensors",
    "Trained",
    "TrainingData",
    "TrainingParams",
    "Unlabelled",
    "parameters",
    "train",
]
