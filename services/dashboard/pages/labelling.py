"""The page on which people answer questions: its frame, which scripts fill, and the form of sign-in."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from services.dashboard import web
from services.dashboard.layout import button, page
from tessera.reporting.markup import Markup, el

_KEYS = (
    (("1 … 9", "letters"), "the class whose key it is"),
    (("0",), "undefined: none of the classes"),
    (("Enter",), "send the answer"),
    (("Backspace", "U", "Ctrl+Z"), "undo the last step; with nothing to undo, go back to the last answer"),
    (("Ctrl+Y", "Ctrl+Shift+Z"), "redo what was undone"),
    (("/",), "find a class by its name, where there are many; Enter chooses the first"),
    (("K",), "skip the question, with a reason"),
    (("P", "B", "N"), "masks: polygon, brush, superpixel"),
    (("[", "]", ",", "."), "masks: a smaller brush by [ or comma, a larger one by ] or full stop"),
    (("F",), "masks: fill what is left of the region"),
    (("M", "O"), "show or hide the prediction; the superpixels"),
    (("Y",), "masks: start from the prediction"),
    (("V",), "hold: see the image without anything on it"),
    (("+", "−", "arrows"), "zoom and move; also the mouse wheel, Shift and drag, or two fingers"),
    (("H", "?"), "this help"),
)


async def show(request: Request) -> Response:
    """Return the frame of the page; everything in it comes over /api."""
    person, key = web.person_of(request), request.state.form_key
    content = el(
        "div",
        _bar(person.name, person.operates, key),
        el("p", "", id="say", role="status", aria_live="polite"),
        el("main", _stage(), _side(), id="work", hidden=""),
        el("section", el("h1", "Questions"), el("div", id="rounds"), id="pick"),
        _help(_leave(person.name, key)),
        _skip(),
        id="label",
        data_person=person.name,
        data_run=person.run,
    )
    return HTMLResponse(page("Label", person, content, form_key=key, modules=("label/main",), bare=True))


def sign_in_form() -> Markup:
    """Return the form that takes a token; a link fills and sends it."""
    return el(
        "form",
        el("h1", "Sign in"),
        el("p", "Open the link that you were given, or paste the operator's token.", class_="note"),
        el("label", "Token", for_="token"),
        el("input", type="password", name="token", id="token", required="", autocomplete="off", class_="wide"),
        el("button", "Sign in", type="submit"),
        method="post",
        action="/sign-in",
        class_="choose",
        id="sign-in",
    )


def _bar(name: str, operates: bool, key: str) -> Markup:
    return el(
        "header",
        el("a", "Tessera", href="/" if operates else "/label", class_="mark-name"),
        el("span", "", id="progress-words"),
        el("progress", id="progress", value="0", max="1", aria_label="Questions of this round that are settled"),
        el("span", "", id="sending", role="status"),
        _press("help-open", "Help", "H"),
        _leave(name, key),
        class_="top",
    )


def _leave(name: str, key: str) -> Markup:
    return button(f"Sign out {name}", "/sign-out", key, quiet=True)


def _stage() -> Markup:
    tools = el(
        "div",
        _press("tool-polygon", "Polygon", "P"),
        _press("tool-brush", "Brush", "B"),
        _press("tool-superpixel", "Superpixel", "N"),
        _press("fill", "Fill rest", "F"),
        _press("start", "Use prediction", "Y"),
        id="tools",
        role="toolbar",
        aria_label="Drawing",
        hidden="",
    )
    views = el(
        "div",
        _press("zoom-out", "−", ""),
        _press("zoom-fit", "Region", ""),
        _press("zoom-image", "Image", ""),
        _press("zoom-in", "+", ""),
        _press("show-prediction", "Prediction", "M"),
        _press("show-superpixels", "Superpixels", "O"),
        role="toolbar",
        aria_label="View",
        id="views",
    )
    canvas = el("canvas", "", id="canvas", tabindex="0", role="img", aria_label="The region in its image")
    overview = el(
        "canvas", "", id="overview", width="160", height="107", role="img", aria_label="Where the region lies"
    )
    return el("div", tools, el("div", canvas, overview, id="stage"), views, id="left")


def _side() -> Markup:
    return el(
        "aside",
        el("h1", "", id="asked"),
        el("p", "", id="hint", class_="note"),
        el(
            "input",
            type="search",
            id="find",
            placeholder="Find a class: /",
            aria_label="Find a class",
            autocomplete="off",
            hidden="",
        ),
        el("div", id="palette", role="group", aria_label="Classes"),
        el(
            "div",
            _press("send", "Send", "Enter", first=True),
            _press("undo", "Undo", "U"),
            _press("skip-open", "Skip", "K"),
            class_="actions",
        ),
        el("label", el("input", type="checkbox", id="safe-colors"), " colours for the colour-blind", class_="note"),
        id="side",
    )


def _press(id_: str, words: str, key: str, *, first: bool = False) -> Markup:
    names = {"−": "Zoom out", "+": "Zoom in", "Region": "Show the region", "Image": "Show the whole image"}
    sign = el("kbd", key, aria_hidden="true") if key else None
    return el(
        "button", words, sign, type="button", id=id_, class_=None if first else "quiet", aria_label=names.get(words)
    )


def _help(leave: Markup) -> Markup:
    rows = [Markup(el("dt", [el("kbd", key) for key in keys]) + el("dd", words)) for keys, words in _KEYS]
    return el(
        "dialog", el("h2", "Keys"), el("dl", rows),
        el("div", el("button", "Close", type="button", id="help-close"), el("div", leave, class_="narrow"),
           class_="actions"),
        id="help", aria_label="Help",
    )  # fmt: skip


def _skip() -> Markup:
    reasons = ("I cannot tell what it shows", "The image is too dark or blurred", "None of the classes fits")
    options = [el("button", reason, type="button", class_="quiet", data_reason=reason) for reason in reasons]
    words = "Another reason"
    other = el(
        "input", type="text", id="skip-words", maxlength="300", aria_label=words, placeholder=words, class_="wide"
    )
    return el(
        "dialog", el("h2", "Skip: why?"), el("div", options, class_="stack"), other,
        el("div", el("button", "Skip", type="button", id="skip-send"),
           el("button", "Back", type="button", id="skip-close", class_="quiet"), class_="actions"),
        id="skip", aria_label="Skip the question",
    )  # fmt: skip
