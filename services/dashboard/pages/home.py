"""The list of runs."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from services.dashboard import web
from services.dashboard.layout import page, pages_of
from services.dashboard.run_data import RunData
from services.dashboard.words import badge, position, state_of, version_of_list
from tessera.pb.runs_pb2 import RunView
from tessera.reporting.markup import Markup, el
from tessera.reporting.numbers import duration
from tessera.reporting.tables import table

PAGE = 50
_ORDER = {"running": 0, "failed": 1, "cancelled": 2, "done": 3}


async def show(data: RunData, request: Request) -> Response:
    """Show the runs, those that run first, and let some be chosen for a comparison."""
    views = sorted(await data.runs.list(), key=lambda view: (_ORDER.get(state_of(view), 4), view.spec.run_id))
    at = number(request)
    counts = {state: sum(state_of(view) == state for view in views) for state in _ORDER}
    tiles = el("div", [_tile(state, count) for state, count in counts.items()], class_="tiles states")
    shown = views[at * PAGE : (at + 1) * PAGE]
    content = (
        _list(shown) if shown else el("p", "No runs yet. Start one with ", el("code", "tessera submit RECIPE"), ".")
    )
    live = el(
        "div", tiles, content, pages_of(len(views), at, PAGE, "/"), id="live", data_events="/events",
        data_version=version_of_list(views),
    )  # fmt: skip
    form_key = request.state.form_key
    body = page("Runs", web.person_of(request), el("h1", "Runs"), live, form_key=form_key, here="/")
    return HTMLResponse(body)


def number(request: Request) -> int:
    """Return the page number of a list, from 0; whatever cannot be one is 0."""
    text = request.query_params.get("page", "0")
    return int(text) if text.isdecimal() and len(text) < 8 else 0


def _tile(state: str, count: int) -> Markup:
    return el("div", badge(state), el("b", str(count)), class_="tile")


def _list(views: list[RunView]) -> Markup:
    rows: list[list[str | Markup]] = []
    for view in views:
        run_id = view.spec.run_id
        choose = el("input", type="checkbox", name="run", value=run_id, aria_label=f"Compare {run_id}")
        rows.append(
            [
                Markup(choose + " " + el("a", run_id, href=f"/runs/{run_id}")),
                badge(state_of(view)),
                position(view),
                view.spec.dataset_name,
                duration(view.wall_seconds),
                el("td", view.message or "", class_="words"),
            ]
        )
    made = table(["run", "state", "where it stands", "data set", "computing", "note"], rows, "Runs")
    press = el("button", "Compare the chosen runs", type="submit", class_="quiet")
    return el("form", made, press, method="get", action="/compare", class_="listing")
