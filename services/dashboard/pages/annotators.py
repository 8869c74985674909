"""Hand-out of annotators' links."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from services.dashboard import web
from services.dashboard.layout import hidden_key, page
from services.dashboard.run_data import RunData
from services.dashboard.sign_in import Door
from services.dashboard.words import state_of
from tessera.reporting.markup import Markup, el


async def show(data: RunData, door: Door, request: Request) -> Response:
    """Show the form for a link."""
    return await _page(data, request, None)


async def invite(data: RunData, door: Door, request: Request) -> Response:
    """Make a link for one person and show it; it is shown once and kept nowhere."""
    fields = await web.form(request)
    days = fields.get("days", "30")
    token = door.invite(
        fields.get("name", "").strip(), fields.get("run", ""), float(days) if days.isdecimal() and len(days) < 6 else 0
    )
    # In the part after #, which browsers send to no server, so that no log holds it.
    link = f"{request.url.scheme}://{request.headers.get('host', '')}/sign-in#{token}"
    shown = el(
        "div",
        el("h2", f"Link for {fields.get('name', '').strip()}"),
        el("p", "Whoever has it answers in this name. It is shown once."),
        el("input", type="text", readonly="", value=link, aria_label="The link", class_="wide", id="link"),
        el("button", "Copy", type="button", data_copy="link"),
        class_="finding",
    )
    return await _page(data, request, shown)


async def _page(data: RunData, request: Request, shown: Markup | None) -> Response:
    running = [view.spec.run_id for view in await data.runs.list() if state_of(view) == "running"]
    runs = [el("option", "every run that waits for people", value=""), *[el("option", r, value=r) for r in running]]
    form = el(
        "form",
        hidden_key(request.state.form_key),
        el("label", "Name", for_="name"),
        el("input", type="text", name="name", id="name", required="", maxlength="64", autocomplete="off"),
        el("label", "Answers", for_="run"),
        el("select", runs, name="run", id="run"),
        el("label", "Valid for days", for_="days"),
        el("input", type="number", name="days", id="days", value="30", min="1", max="365", required=""),
        el("button", "Make a link", type="submit"),
        method="post",
        action="/annotators",
        class_="choose",
    )
    about = el(
        "p",
        "An annotator sees the questions that are handed to them and nothing else. A link cannot be taken back before "
        "its time is over, except with all others: by a new TESSERA_HTTP_TOKEN.",
        class_="note",
    )
    content = (el("h1", "Annotators"), about, form, shown)
    key = request.state.form_key
    return HTMLResponse(page("Annotators", web.person_of(request), *content, form_key=key, here="/annotators"))
