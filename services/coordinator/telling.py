"""Tell metrics and traces of the steps and rounds of one run, when this coordinator ends them.

Of several coordinators one wins each decision, so each step and each round is told once.
"""

from __future__ import annotations

import asyncio
import logging

from tessera import evaluation
from tessera.loop import healing, plan
from tessera.loop.reducer import CANCELLED, RunState, Step
from tessera.loop.view import Kept, view
from tessera.runtime import metrics, tracing

_log = logging.getLogger(__name__)
_UNITS = ("regions", "pixels", "clicks")


def begin() -> None:
    """Show what will be counted of rounds, at 0, as soon as this process drives runs."""
    for name in ("rounds", "round_seconds", "jobs_redone"):
        metrics.zero(name)
    for unit in (*_UNITS, "seconds"):
        metrics.zero("budget_spent", unit=unit)
    for split in ("val", "test"):
        metrics.zero("round_miou", split=split)


def place(state: RunState, step: Step) -> tracing.SpanPlace:
    """Return where a step is in the traces."""
    return tracing.SpanPlace(state.spec.run_id if state.spec else "", state.started, step.round, step.name)


class RoundTeller:
    """Tells of one run."""

    def __init__(self) -> None:
        self._kept = Kept()
        self._cancelled = -1

    async def decided(self, state: RunState, action: plan.Action) -> None:
        """Tell what a decision ends: the last step, and its round unless the next step belongs to it.

        Never raises: a run does not depend on what is told of it.
        """
        if not (tracing.on() or metrics.on()):
            return
        try:
            if isinstance(action, healing.Redo):
                metrics.count("jobs_redone", len(action.job_keys))
                return
            last = next(reversed(list(state.steps.values())), None)
            if last is None:
                return
            trouble = "failed" if isinstance(action, plan.Fail) else ""
            tracing.ended(place(state, last), last.started, last.ended, trouble, step=last.name, jobs=last.jobs)
            if not isinstance(action, plan.StartStep) or action.round != last.round:
                await self._round(state, last, trouble)
        except Exception:
            _log.exception("a step could not be told of")

    async def stopped(self, state: RunState) -> None:
        """Tell, once, that the run was cancelled in the middle of a step; of two coordinators, both tell the same."""
        if state.status == CANCELLED and state.open_steps and self._cancelled != state.resumes:
            self._cancelled = state.resumes
            await self.decided(state, plan.Fail("cancelled", 130))

    async def _round(self, state: RunState, last: Step, trouble: str) -> None:
        first = min((step for step in state.steps.values() if step.round == last.round), key=lambda step: step.started)
        of_round = place(state, last)._replace(step="")
        tracing.ended(of_round, first.started, last.ended, trouble)
        if metrics.on() and not trouble:
            await asyncio.to_thread(self._measure, state, last.round, last.ended - first.started)

    def _measure(self, state: RunState, round_: int, seconds: float) -> None:
        metrics.count("rounds")
        metrics.observe("round_seconds", seconds)
        made = next(one for one in view(state, self._kept).rounds if one.round == round_)
        for unit in _UNITS:
            metrics.count("budget_spent", getattr(made.cost, unit), unit=unit)
        metrics.count("budget_spent", made.cost.labelling_seconds, unit="seconds")
        for split in made.splits:
            counts = split.true_positives, split.false_positives, split.false_negatives
            value = float(evaluation.miou(*counts))
            metrics.observe("round_miou", value, split=metrics.split(split.split))
            metrics.gauge("last_miou", value, split=metrics.split(split.split))
