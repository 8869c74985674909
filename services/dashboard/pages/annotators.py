"""Hand-out of annotators' links, and taking them back."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.dashboard import web
from services.dashboard.layout import button, hidden_key, page
from services.dashboard.links import Links
from services.dashboard.run_data import RunData
from services.dashboard.sign_in import Door
from services.dashboard.words import state_of
from tessera.reporting.markup import Markup, el
from tessera.reporting.tables import table


async def show(data: RunData, links: Links, request: Request) -> Response:
    """Show the form for a link, and the links that are valid."""
    return await _page(data, links, request, None)


async def revoke(links: Links, request: Request) -> Response:
    """Take a link back."""
    await links.revoke((await web.form(request)).get("link", ""))
    return RedirectResponse("/annotators", 303)


async def invite(data: RunData, door: Door, links: Links, request: Request) -> Response:
    """Make a link for one person and show it; it is shown once and kept nowhere."""
    fields = await web.form(request)
    days = fields.get("days", "30")
    person = door.guest(
        fields.get("name", "").strip(), fields.get("run", ""), float(days) if days.isdecimal() and len(days) < 6 else 0
    )
    await links.add(person)
    token = door.sign(person)
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
    return await _page(data, links, request, shown)


async def _page(data: RunData, links: Links, request: Request, shown: Markup | None) -> Response:
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
        "An annotator sees the questions that are handed to them and nothing else. A link that is taken back admits "
        "nobody from then on, and ends the sessions that it opened; answers that were given stay.",
        class_="note",
    )
    key = request.state.form_key
    content = (el("h1", "Annotators"), about, form, shown, el("h2", "Valid links"), _valid(links, key))
    return HTMLResponse(page("Annotators", web.person_of(request), *content, form_key=key, here="/annotators"))


def _valid(links: Links, key: str) -> Markup:
    found = links.valid()
    if not found:
        return el(
            "p", "There is none. Links of earlier versions are not listed; a new TESSERA_HTTP_TOKEN ends them all."
        )
    rows: list[list[str | Markup]] = [
        [
            # First, where a narrow screen shows it whatever the length of the name.
            button("Take back", "/annotators/revoke", key, quiet=True, link=id_),
            el("td", one.name, class_="name"),
            el("td", one.run or "every run", class_="name"),
            f"{datetime.fromtimestamp(one.made, UTC):%Y-%m-%d %H:%M}",
            f"{datetime.fromtimestamp(one.until, UTC):%Y-%m-%d %H:%M}",
        ]
        for id_, one in found
    ]
    head = ["", "name", "answers", "made (UTC)", "valid until (UTC)"]
    return el("div", table(head, rows, "Valid links, the newest first"), class_="listing")
