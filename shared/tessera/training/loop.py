"""The training loop, top to bottom: it runs the phases that any method yields."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch

from tessera.errors import BadInput
from tessera.models.network import SegmentationNetwork, seeded
from tessera.training.artefacts import Artefact
from tessera.training.history import Epoch, Meter, Part, Trained
from tessera.training.phase import Iteration, Phase, Role, Setup, State, Update
from tessera.training.streams import Streams
from tessera.training.validation import Validator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tessera.training.samples import Sample

States = dict[Role, State]


def run(
    phases: Iterator[Phase],
    names: Sequence[str],
    setup: Setup,
    val: Sequence[Sample] | None,
    acquires: str,
    clock: Callable[[], float] | None,
) -> Trained:
    """Run the phases ``names`` one after the other; see ``tessera.training.train`` for what holds."""
    history: list[Epoch] = []
    losses: list[Part] = []
    served: States = {}
    artefacts: dict[str, Artefact] = {}
    kept_epoch = 0
    for number, name in enumerate(names):
        streams = Streams(setup.seed, name if number else None)
        with seeded(streams.torch_seed):
            phase = next(phases)
            starts = {key: [group["lr"] for group in one.param_groups] for key, one in phase.optimisers.items()}
            measured = "reported" in phase.serves or ("acquisition" in phase.serves and acquires == "kept")
            validator = _validator(phase, val, setup) if val and measured else None
            kept: tuple[float, int, States] | None = None
            for epoch in range(1, phase.epochs + 1):
                meter, began = Meter(), clock() if clock else 0.0
                phase.begin_epoch()
                rate = math.nan
                for step in streams.epoch(phase, epoch):
                    rate = _set_rates(phase, starts, step)
                    for update in phase.step(step):
                        _minimise(phase, update, step, name, meter)
                    meter.samples += len(step.index)
                miou = validator.miou() if validator else math.nan
                history.append(Epoch(len(history) + 1, meter.loss(), rate, miou))
                losses.extend(Part(len(history), name, key, value) for key, value in meter.means().items())
                if validator and (kept is None or miou > kept[0]):
                    kept = (miou, len(history), _states(phase))
                note = f"epoch {epoch}/{phase.epochs}, {meter.note()}"
                speed = f", {meter.samples / (clock() - began):.1f} samples/s" if clock else ""
                place = f"{name}, " if len(names) > 1 else ""
                setup.progress((number + epoch / phase.epochs) / len(names), place + note + speed)
            for module in phase.modules.values():
                module.eval()
            last = _states(phase)
            best = kept[2] if kept else last
            acquiring = best if acquires == "kept" else last
            if acquiring is not last:
                _load(phase, acquiring)
            for role in phase.serves:
                served[role] = (best if role == "reported" else acquiring)[role]
            if "reported" in phase.serves:
                kept_epoch = kept[1] if kept else len(history)
            artefacts.update(phase.artefacts())
    same = served["reported"] is served["acquisition"]
    return Trained(
        state=served["acquisition"],
        history=tuple(history),
        kept_epoch=kept_epoch,
        reported=None if same else served["reported"],
        features=served.get("features"),
        losses=tuple(losses),
        artefacts=artefacts,
    )


def _set_rates(phase: Phase, starts: Mapping[str, list[float]], step: Iteration) -> float:
    """Set the learning rate of every parameter group; returns that of the first one."""
    first: float | None = None
    for name, optimiser in phase.optimisers.items():
        for group, start in zip(optimiser.param_groups, starts[name], strict=True):
            group["lr"] = phase.rate(name, start, step)
            first = group["lr"] if first is None else first
    return math.nan if first is None else first


def _minimise(phase: Phase, update: Update, step: Iteration, name: str, meter: Meter) -> None:
    """One backward pass and one step of one optimiser. BadInput when a loss is not finite."""
    optimiser = phase.optimisers[update.optimiser]
    values = {key: float(loss.detach()) for key, loss in update.losses.items()}
    for key, value in values.items():
        if not math.isfinite(value):
            raise BadInput(
                f"training: loss {key} became {value} in epoch {step.epoch}, step {step.number + 1} of {step.steps} "
                f"(phase {name}); lower training.lr (now {optimiser.param_groups[0]['lr']:g}) or set "
                "training.precision=float32"
            )
    total, *others = update.losses.values()
    for loss in others:
        total = total + loss
    optimiser.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    optimiser.step()
    meter.add(update, values, leads=next(iter(phase.optimisers)) == update.optimiser)


def _validator(phase: Phase, val: Sequence[Sample], setup: Setup) -> Validator:
    model = phase.modules[phase.serves["reported" if "reported" in phase.serves else "acquisition"]]
    assert isinstance(model, SegmentationNetwork)  # noqa: S101 - what is served is one
    return Validator(model, val, setup.classes, setup.device, phase.precision, phase.frozen)


def _states(phase: Phase) -> States:
    """Copies of the weights of every served network; roles of one network share them."""
    made = {
        name: {
            key: value.detach().cpu().contiguous().numpy().copy()
            for key, value in phase.modules[name].state_dict().items()
        }
        for name in set(phase.serves.values())
    }
    return {role: made[name] for role, name in phase.serves.items()}


def _load(phase: Phase, states: States) -> None:
    for role, name in phase.serves.items():
        tensors = {key: torch.from_numpy(value.copy()) for key, value in states[role].items()}
        phase.modules[name].load_state_dict(tensors)
