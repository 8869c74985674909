"""The training loop, top to bottom: it runs the phases that any method yields."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from tessera.errors import BadInput
from tessera.models.network import SegmentationNetwork, seeded
from tessera.training.compiled import compile_errors
from tessera.training.distributed import Processes
from tessera.training.history import Epoch, Meter, Part, Trained
from tessera.training.phase import Iteration, Phase, Setup, Update
from tessera.training.state import LoopState, States, load_modules, modules_of, recall, remember
from tessera.training.streams import Streams
from tessera.training.telling import Teller
from tessera.training.validation import UNMEASURED, Validator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tessera.training.samples import Sample


def run(
    phases: Iterator[Phase],
    names: Sequence[str],
    setup: Setup,
    val: Sequence[Sample] | None,
    acquires: str,
    clock: Callable[[], float] | None = None,
    state: LoopState | None = None,
    save: Callable[[LoopState], None] | None = None,
    due: Callable[[], bool] = lambda: True,
) -> Trained:
    """Run the phases ``names`` one after the other, as ``tessera.training.train`` promises.

    ``save`` is called after every epoch that is ``due``, with the ``state`` from which a later call goes on. Each
    process of the setup's ``group`` runs this.
    """
    done, group = state or LoopState(), setup.group
    teller = Teller(setup.progress, clock, tuple(names))
    for number, name in enumerate(names):
        streams = Streams(setup.seed, name if number else None, group)
        with compile_errors(), seeded(streams.torch_seed), ExitStack() as ends:
            phase = next(phases)
            ends.callback(phase.close)
            if number < done.number:  # ended before the state was saved
                load_modules(phase, done.ended[number])
                continue
            rates = {key: [part["lr"] for part in one.param_groups] for key, one in phase.optimisers.items()}
            measured = "reported" in phase.serves or ("acquisition" in phase.serves and acquires == "kept")
            validator = _validator(phase, val, setup) if val and measured else None
            if done.phase is not None:
                recall(phase, streams, done.phase)
            group.begin(phase.modules.values())

            teller.begin_phase(number, phase.epochs, done.epoch)
            for epoch in range(done.epoch + 1, phase.epochs + 1):
                meter = Meter()
                phase.begin_epoch()
                teller.begin_epoch()
                rate = math.nan
                for at in _prepared(phase, streams.epoch(phase, epoch)):
                    rate = _set_rates(phase, rates, at)
                    for update in phase.step(at):
                        _minimise(phase, update, at, name, meter, group)
                    meter.samples += len(at.whole)
                    teller.step(meter, epoch, at.number, at.steps, rate)
                _check_weights(phase, at, name)
                found = validator.measure() if validator else UNMEASURED

                done.history.append(Epoch(len(done.history) + 1, meter.loss(), rate, found.miou))
                parts = meter.means() | found.parts
                done.losses.extend(Part(len(done.history), name, key, value) for key, value in parts.items())
                if validator and (done.kept is None or found.chosen_by > done.kept[0]):
                    done.kept = (found.chosen_by, len(done.history), _states(phase))
                done.epoch = epoch
                if save and due():
                    done.phase = remember(phase, streams)
                    save(done)
                teller.epoch(meter, epoch, rate)

            _end(phase, done, acquires)
            if save:
                done.ended.append(modules_of(phase))
    reported, acquiring = done.served["reported"], done.served["acquisition"]
    return Trained(
        state=acquiring,
        history=tuple(done.history),
        kept_epoch=done.kept_epoch,
        reported=None if reported is acquiring else reported,
        features=done.served.get("features"),
        losses=tuple(done.losses),
        artefacts=done.artefacts,
        images_per_second=teller.images_per_second,
    )


def _prepared(phase: Phase, steps: Iterator[Iteration]) -> Iterator[Iteration]:
    """Yield every iteration, where the phase prepares them with the one after it prepared."""
    if not phase.prepares:
        yield from steps
        return
    ready: Iteration | None = None
    for at in steps:
        phase.prepare(at)
        if ready is not None:
            yield ready
        ready = at
    if ready is not None:
        yield ready


def _end(phase: Phase, done: LoopState, acquires: str) -> None:
    """Apply the checkpoint policy, load the acquiring weights, and collect the phase's artefacts."""
    for module in phase.modules.values():
        module.eval()
    last = _states(phase)
    best = done.kept[2] if done.kept else last
    acquiring = best if acquires == "kept" else last
    if acquiring is not last:
        _load(phase, acquiring)
    for role in phase.serves:
        done.served[role] = (best if role == "reported" else acquiring)[role]
    if "reported" in phase.serves:
        done.kept_epoch = done.kept[1] if done.kept else len(done.history)
    done.artefacts.update(phase.artefacts())
    done.number, done.epoch, done.kept, done.phase = done.number + 1, 0, None, None


def _set_rates(phase: Phase, starts: Mapping[str, list[float]], at: Iteration) -> float:
    """Set the learning rate of every parameter group; return that of the first one."""
    first: float | None = None
    for name, optimiser in phase.optimisers.items():
        for group, start in zip(optimiser.param_groups, starts[name], strict=True):
            group["lr"] = phase.rate(name, start, at)
            first = group["lr"] if first is None else first
    return math.nan if first is None else first


def _minimise(phase: Phase, update: Update, at: Iteration, name: str, meter: Meter, group: Processes) -> None:
    """Make one backward pass and one step of one optimiser; BadInput when a loss is not finite."""
    optimiser = phase.optimisers[update.optimiser]
    counts = {key: update.counts.get(key, update.weight) for key in (*update.losses, *update.seen)}
    losses = {key: float(loss.detach()) for key, loss in update.losses.items()}
    # No part has the empty name: it is the weight of the step.
    found, (*totals, weight) = group.means({**losses, **update.seen}, {**counts, "": update.weight})
    values, seen = ({key: found[key] for key in part} for part in (update.losses, update.seen))
    for key, value in values.items():
        if not math.isfinite(value):
            raise BadInput(
                f"training: loss {key} became {value} in epoch {at.epoch}, step {at.number + 1} of {at.steps} "
                f"(phase {name}); lower training.lr (now {optimiser.param_groups[0]['lr']:g}) or set "
                "training.precision=float32"
            )
    parts = [*update.losses.values()]
    if group.size > 1:
        shares = [counts[key] / max(of, 1e-9) for key, of in zip(counts, totals, strict=True)]
        parts = [loss * share for loss, share in zip(parts, shares, strict=False)]
    total, *others = parts
    for loss in others:
        total = total + loss
    optimiser.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    group.add_gradients(one for part in optimiser.param_groups for one in part["params"])
    optimiser.step()
    meter.add(replace(update, weight=weight, seen=seen), values, leads=next(iter(phase.optimisers)) == update.optimiser)


def _check_weights(phase: Phase, at: Iteration, name: str) -> None:
    """Raise BadInput when a weight is not finite: no loss shows what the last step does to them."""
    for module, one in phase.modules.items():
        for key, value in one.state_dict().items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise BadInput(
                    f"training: weight {key} of {module} is not finite after epoch {at.epoch}, step {at.steps} of "
                    f"{at.steps} (phase {name}); lower training.lr or set training.precision=float32"
                )


def _validator(phase: Phase, val: Sequence[Sample], setup: Setup) -> Validator:
    model = phase.modules[phase.serves["reported" if "reported" in phase.serves else "acquisition"]]
    assert isinstance(model, SegmentationNetwork)  # noqa: S101 - what is served is one
    return Validator(model, val, setup.classes, setup.device, phase.precision, phase.frozen, setup.group)


def _states(phase: Phase) -> States:
    """Return copies of the weights of every served network; roles of one network share them."""
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
