"""One run: its state, curves, classes, cost, rounds, and what may be done with it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.dashboard import web
from services.dashboard.layout import button, page
from services.dashboard.questions import Questions
from services.dashboard.run_data import RunData
from services.dashboard.words import badge, position, state_of, version
from tessera.loop.reading import from_canonical
from tessera.pb.runs_pb2 import RunView
from tessera.reporting import RunReport, charts, costs, tables
from tessera.reporting.compare import Comparison, compare
from tessera.reporting.findings import tiles
from tessera.reporting.forecast import forecast
from tessera.reporting.markup import Markup, el
from tessera.reporting.numbers import miou
from tessera.units import UNITS, unit

_SHOWN = 40
"""Rounds whose rows are shown; a longer run shows its newest."""


async def show(data: RunData, questions: Questions, request: Request) -> Response:
    """Show a run; ``over`` chooses the cost of its curves."""
    run_id = request.path_params["run_id"]
    over = unit(request.query_params.get("over", "percent"), "over").name
    view = await data.runs.get(run_id)
    summary = await data.summary(view)
    key = request.state.form_key
    people = await questions.progress_of(run_id, request)
    parts = [_head(view, web.acting_key(request)), people, *_measured(view, summary, over, run_id)]
    content = el(
        "div", [part for part in parts if part is not None], id="live", data_events=f"/runs/{run_id}/events",
        data_version=version(view),
        # Answers of people are no event of the run.
        data_every="10" if people is not None and state_of(view) == "running" else None,
    )  # fmt: skip
    return HTMLResponse(page(run_id, web.person_of(request), el("h1", run_id), content, form_key=key))


async def cancel(data: RunData, request: Request) -> Response:
    """Stop a run and show it."""
    run_id = request.path_params["run_id"]
    await data.runs.cancel(run_id, f"cancelled by {web.person_of(request).name} on the dashboard")
    return RedirectResponse(f"/runs/{run_id}", 303)


async def resume(data: RunData, request: Request) -> Response:
    """Let a run continue and show it."""
    run_id = request.path_params["run_id"]
    await data.runs.resume(run_id)
    return RedirectResponse(f"/runs/{run_id}", 303)


async def close_round(questions: Questions, request: Request) -> Response:
    """End the open round of questions with the answers that it has, and show the run."""
    run_id = request.path_params["run_id"]
    await questions.close_round(run_id, web.person_of(request).name)
    return RedirectResponse(f"/runs/{run_id}", 303)


def _head(view: RunView, key: str) -> Markup:
    run_id, state = view.spec.run_id, state_of(view)
    actions: list[Markup] = []
    if state in ("running", "failed"):
        actions.append(button("Cancel the run", f"/runs/{run_id}/cancel", key, quiet=True))
    if state in ("failed", "cancelled"):
        actions.append(button("Resume the run", f"/runs/{run_id}/resume", key))
    share = view.jobs_done / view.jobs_total if view.jobs_total else 0.0
    meter = el("progress", value=share, max=1, aria_label="Jobs of this step", id="step-meter")
    running = state == "running"
    status = el(
        "p", badge(state), " · ", el("span", position(view), id="where"), " ", el("span", "", id="note", class_="note"),
        class_="status", role="status",
    )  # fmt: skip
    trouble = el("p", view.message, class_="finding") if view.message and state == "failed" else None
    facts = el("p", f"{view.spec.dataset_name}, seed {view.spec.seed}", class_="note")
    return el("section", status, meter if running else None, facts, trouble, el("div", actions, class_="actions"))


def _measured(view: RunView, summary: dict[str, Any], over: str, run_id: str) -> list[Markup | None]:
    rounds = _rounds(view, run_id)
    if not summary["rounds"]:
        return [el("p", "Nothing is measured yet."), rounds]
    comparison = compare([summary])
    names = [*view.spec.class_names]
    classes = [part for split in comparison.splits if (part := tables.per_class(comparison, split, names))]
    return [
        tiles(comparison),
        _forecast(view, summary, over, comparison.quality),
        el("section", el("h2", "Learning curve"), _choice(over, summary), _curves(comparison, over)),
        rounds,
        el("section", el("h2", "IoU by class"), el("div", classes, class_="pair")) if classes else None,
        el("section", el("h2", "Every round"), tables.rounds(_newest(summary))),
    ]


def _newest(summary: dict[str, Any]) -> RunReport:
    return RunReport({**summary, "rounds": summary["rounds"][-_SHOWN:]})


def _choice(over: str, summary: dict[str, Any]) -> Markup:
    # What nobody measured is no cost of this run.
    known = [one for one in UNITS.values() if all(each.get(one.column) is not None for each in summary["rounds"])]
    links = [
        el("a", one.title, href=f"?over={one.name}", aria_current="true" if one.name == over else None) for one in known
    ]
    return el("nav", el("span", "over"), links, class_="units", aria_label="Cost on the axis")


def _curves(comparison: Comparison, over: str) -> Markup:
    cards = [el("div", charts.learning_curve(comparison, split, over), class_="card") for split in comparison.splits]
    return el("div", cards, class_="pair")


def _forecast(view: RunView, summary: dict[str, Any], over: str, quality: str) -> Markup | None:
    """Say when the goal of the recipe may be met, at which cost, and on what assumption; None without a goal.

    Of a goal that the curve does not show (pixel accuracy beside mIoU) nothing is said.
    """
    stop = from_canonical(view.spec.recipe).stop
    if stop is None:
        return None
    goal = stop.miou if quality == "mIoU" else stop.accuracy
    if goal is None:
        return None
    curve = costs.points(summary, stop.split, over)
    found, write, name = forecast(curve, goal), costs.form(over), costs.cost(over).title
    what = f"Goal: {stop.split} {quality} {miou(goal)}. "
    if found.reached and found.cost is not None:
        text = f"{what}It was met at {write(found.cost)} {name}."
    elif found.cost is not None:
        text = (
            f"{what}If the curve stays a straight line over the logarithm of the cost, it is met at about "
            f"{write(found.cost)} {name}."
        )
    else:
        text = f"{what}The rounds so far allow no forecast: they are too few, or the curve does not rise towards it."
    return el("p", text, class_="finding")


def _rounds(view: RunView, run_id: str) -> Markup:
    links = [
        el("a", f"Round {entry.round}", el("small", f"{entry.cost.regions:,} regions" if entry.cost.regions else "…"),
           href=f"/runs/{run_id}/rounds/{entry.round}", class_="round")
        for entry in reversed(view.rounds)
        if entry.HasField("selection")
    ]  # fmt: skip
    nothing = el("p", "No round has chosen anything yet.")
    listed = el("div", links, class_="round-list") if links else nothing
    return el("section", el("h2", "What was chosen"), listed)
