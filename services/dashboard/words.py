"""Words for states, and short texts that several pages share."""

from __future__ import annotations

from tessera.pb.runs_pb2 import RunStatus, RunView
from tessera.reporting.markup import Markup, el

_SIGNS = {"running": "●", "done": "✓", "failed": "✕", "cancelled": "■"}


def state_of(view: RunView) -> str:
    """Return a run's state in one word."""
    return RunStatus.Name(view.status).removeprefix("RUN_STATUS_").lower()


def badge(state: str) -> Markup:
    """Show a state by sign and word, so that nobody needs its colour."""
    return el("span", el("span", _SIGNS.get(state, "?"), aria_hidden="true"), f" {state}", class_=f"state {state}")


def position(view: RunView) -> str:
    """Say where a run stands."""
    place = f"round {view.round} of {view.planned_rounds}" if view.planned_rounds else f"round {view.round}"
    jobs = f", {view.jobs_done}/{view.jobs_total} jobs" if view.jobs_total and state_of(view) == "running" else ""
    return f"{place}, {view.step}{jobs}" if view.step else place
