"""Words for states, and short texts that several pages share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from tessera.pb.runs_pb2 import RunStatus, RunView
from tessera.reporting.markup import Markup, el

_SIGNS = {"running": "●", "done": "✓", "failed": "✕", "cancelled": "■"}


def state_of(view: RunView) -> str:
    """Return a run's state in one word."""
    return RunStatus.Name(view.status).removeprefix("RUN_STATUS_").lower()


def badge(state: str) -> Markup:
    """Show a state by sign and word, so that nobody needs its colour."""
    return el("span", el("span", _SIGNS.get(state, "?"), aria_hidden="true"), f" {state}", class_=f"state {state}")


def version(view: RunView) -> str:
    """Return a text that changes when a run's page has to be read again; a page carries its own, an event the newest.

    So whatever happens between a page and its first event, or while a browser is away, is noticed.
    """
    complete = sum(entry.complete for entry in view.rounds)
    return f"{view.status}.{view.round}.{view.step}.{complete}.{_digest([view.message])}"


def version_of_list(views: Iterable[RunView]) -> str:
    """Return a text that changes when the list of runs has to be read again; the same in every dashboard."""
    return _digest(sorted((one.spec.run_id, one.status, one.round, one.step, one.message) for one in views))


def _digest(facts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def position(view: RunView) -> str:
    """Say where a run stands."""
    place = f"round {view.round} of {view.planned_rounds}" if view.planned_rounds else f"round {view.round}"
    jobs = f", {view.jobs_done}/{view.jobs_total} jobs" if view.jobs_total and state_of(view) == "running" else ""
    return f"{place}, {view.step}{jobs}" if view.step else place
