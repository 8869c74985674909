"""The frame of every page: head, navigation, footer."""

from __future__ import annotations

from services.dashboard.sign_in import Person
from tessera.reporting.markup import Markup, el

_PLACES = (("/", "Runs"), ("/compare", "Compare"), ("/workers", "Workers"), ("/annotators", "Annotators"))


def page(
    title: str,
    person: Person | None,
    *content: Markup | None,
    form_key: str = "",
    modules: tuple[str, ...] = ("live",),
    here: str = "",
    bare: bool = False,
) -> str:
    """Return a whole page; ``modules`` are scripts of ``static``, ``bare`` leaves out navigation and margins."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="form-key", content=form_key) if form_key else None,
        el("title", f"{title} · Tessera"),
        _link("icon", "/static/icon.svg"),
        _link("stylesheet", "/report.css"),
        _link("stylesheet", "/static/app.css"),
        [el("script", type="module", src=f"/static/{name}.js") for name in modules],
    )
    body = (
        el("body", Markup("".join(part for part in content if part)))
        if bare
        else _framed(person, here, content, form_key)
    )
    return "<!doctype html>\n" + el("html", head, body, lang="en") + "\n"


_TITLES = {
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    413: "Too large",
    429: "Too many requests",
    500: "Something failed",
    503: "Not available now",
}


def message_page(status: int, text: str, person: Person | None) -> str:
    """Return a page that says why a request was not answered, and where to go from here."""
    title = _TITLES.get(status, "This does not work")
    if person is None:
        onward = el("a", "Sign in", href="/sign-in")
    elif person.sees:
        onward = el("a", "Back to the runs", href="/")
    else:
        onward = el("a", "Back to the questions", href="/label")
    return page(title, person, el("h1", title), el("p", text, role="alert"), el("p", onward), modules=())


def button(label: str, action: str, form_key: str, *, quiet: bool = False, **fields: str) -> Markup:
    """Return a form of one button that sends ``fields`` to ``action``; nothing without a form key."""
    if not form_key:
        return Markup("")
    hidden = [_hidden(name, value) for name, value in {"form_key": form_key, **fields}.items()]
    press = el("button", label, type="submit", class_="quiet" if quiet else None)
    return el("form", hidden, press, method="post", action=action, class_="inline")


def hidden_key(form_key: str) -> Markup:
    """Return the field with which a form proves that it is ours."""
    return _hidden("form_key", form_key)


def pages_of(total: int, at: int, size: int, address: str) -> Markup | None:
    """Return links to the other pages of a list; None where one page holds all."""
    last = max(0, (total - 1) // size)
    if last == 0:
        return None
    join = "&" if "?" in address else "?"
    around = sorted({0, last, *range(max(0, at - 2), min(last, at + 2) + 1)})
    parts: list[Markup] = []
    for place, number in enumerate(around):
        if place and number - around[place - 1] > 1:
            parts.append(el("span", "…"))
        text = str(number + 1)
        current = "page" if number == at else None
        parts.append(el("a", text, href=f"{address}{join}page={number}", aria_current=current))
    return el("nav", parts, aria_label="Pages", class_="pages")


def _framed(person: Person | None, here: str, content: tuple[Markup | None, ...], form_key: str) -> Markup:
    links = []
    if person is not None and person.sees:
        places = [one for one in _PLACES if person.operates or one[0] != "/annotators"]
        links = [el("a", name, href=to, aria_current="page" if to == here else None) for to, name in places]
    if person is not None and person.labels:
        links.append(el("a", "Label", href="/label"))
    leave = button(f"Sign out {person.name}", "/sign-out", form_key, quiet=True) if person and form_key else None
    top = el(
        "header",
        el("a", "Tessera", href="/", class_="mark-name"),
        el("nav", links, aria_label="Main") if links else None,
        leave,
        class_="top",
    )
    skip = el("a", "Skip to content", href="#content", class_="skip")
    return el("body", skip, top, el("main", Markup("".join(part for part in content if part)), id="content"))


def _link(rel: str, href: str) -> Markup:
    return Markup(f'<link rel="{rel}" href="{href}">')


def _hidden(name: str, value: str) -> Markup:
    return el("input", type="hidden", name=name, value=value)
