"""Comparison of runs at equal cost."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from services.dashboard import web
from services.dashboard.layout import page
from services.dashboard.run_data import RunData
from tessera.errors import BadInput
from tessera.reporting import charts, costs, tables
from tessera.reporting.compare import Comparison, compare, differing_versions
from tessera.reporting.findings import finding, tiles
from tessera.reporting.markup import Markup, el
from tessera.units import UNITS, unit

MOST = 24
_ABOUT = (
    "Choose runs of one data set; hold Ctrl or Shift for several. Runs of one recipe are averaged over their seeds."
)


async def show(data: RunData, request: Request) -> Response:
    """Compare the runs that the address names (``?run=…&run=…&over=clicks``)."""
    names = list(dict.fromkeys(request.query_params.getlist("run")))
    over = request.query_params.get("over", "")
    known = [view.spec.run_id for view in await data.runs.list()]
    form = _form(known, names, over)
    content: list[Markup] = [el("h1", "Compare runs"), form]
    if len(names) > MOST:
        raise BadInput(f"run: {len(names)} runs are named; compare at most {MOST}")
    if not names:
        content.append(el("p", _ABOUT if known else "There are no runs yet.", class_="note"))
    else:
        try:
            content += await _compared(data, names, unit(over, "over").name if over else None)
        except BadInput as error:
            content.append(el("p", str(error), role="alert", class_="finding"))
    key = request.state.form_key
    return HTMLResponse(page("Compare", web.person_of(request), *content, form_key=key, here="/compare"))


async def _compared(data: RunData, names: list[str], over: str | None) -> list[Markup]:
    summaries = [await data.summary(await data.runs.get(name)) for name in names]
    measured = [one for one in summaries if one["rounds"]]
    if not measured:
        raise BadInput("none of these runs has a measured round yet")
    comparison = compare(measured, over)
    sections = [tiles(comparison), finding(comparison), _legend(comparison), _curves(comparison, over or "percent")]
    sections.append(tables.results(comparison))
    if told := differing_versions(measured):
        sections.append(el("p", told, class_="finding"))
    if comparison.differences:
        where = "at equal budget" if over is None else f"at equal {costs.cost(over).title}"
        sections.append(tables.differences(comparison.differences, comparison.quality, where))
    classes = [str(name) for name in measured[0]["dataset"]["classes"]]
    found = [part for split in comparison.splits if (part := tables.per_class(comparison, split, classes))]
    sections.append(el("div", found, class_="pair"))
    left = [one["run"] for one in summaries if not one["rounds"]]
    if left:
        sections.append(el("p", f"Not measured yet, so left out: {', '.join(left)}", class_="note"))
    return [section for section in sections if section is not None]


def _legend(comparison: Comparison) -> Markup:
    return el("div", [tables.key(group.recipe, comparison) for group in comparison.groups], class_="legend")


def _curves(comparison: Comparison, over: str) -> Markup:
    cards = [el("div", charts.learning_curve(comparison, split, over), class_="card") for split in comparison.splits]
    return el("div", cards, class_="pair")


def _form(known: list[str], chosen: list[str], over: str) -> Markup:
    options = [el("option", name, value=name, selected="" if name in chosen else None) for name in sorted(known)]
    pick = el("select", options, name="run", id="runs", multiple="", size=min(8, max(3, len(options))))
    units = [("", "the rounds as they are"), *((name, f"equal {one.title}") for name, one in UNITS.items())]
    at = el(
        "select",
        [el("option", title, value=name, selected="" if name == over else None) for name, title in units],
        name="over",
        id="over",
    )
    return el(
        "form", el("label", "Runs", for_="runs"), pick, el("label", "Compared at", for_="over"), at,
        el("button", "Compare", type="submit"), method="get", action="/compare", class_="choose",
    )  # fmt: skip
