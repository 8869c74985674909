"""What every request passes: who asks, how often, how much, and the headers of every answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.dashboard.layout import message_page
from services.dashboard.sign_in import Door, Pace, Person
from tessera.errors import TesseraError, Unavailable

_log = logging.getLogger(__name__)
COOKIE: Final = "tessera_session"
FORM_BYTES: Final = 64 << 10
ANSWER_BYTES: Final = 4 << 20
"""Largest body of an answer: a mask of 64 megapixels in runs is far below."""

# No script and no style sheet but ours, nothing from elsewhere. Attributes may carry style: charts set lengths so.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data: "
    "blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
# A year. Not for other names below this host: they may be other servers.
_HSTS: Final = (b"strict-transport-security", b"max-age=31536000")

Handler = Callable[[Request], Awaitable[Response]]


class Refused(Exception):
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


class Headers:
    """ASGI middleware: the security headers on every answer, errors included; nothing is cached unless it says so."""

    def __init__(self, app: ASGIApp, *, secure: bool = False) -> None:
        """``secure``: people come over TLS, and their browsers are told to come back over nothing else (HSTS).

        Requests then name the scheme https, also where a server in front speaks TLS and this one does not.
        """
        self._app = app
        self._secure = secure
        self._headers = (*_HEADERS, *((_HSTS,) if secure else ()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and add the headers to its answer."""
        if self._secure and scope["type"] == "http":
            scope = {**scope, "scheme": "https"}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(one for one in self._headers if one[0] not in given)]
                if b"cache-control" not in given:
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


class Guard:
    """Wraps handlers: finds the person, checks role, pace and form key, and turns errors into pages or JSON."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.sign_in = Pace(rate=0.2, burst=10)
        self._pace = {False: Pace(rate=60.0, burst=240), True: Pace(rate=10.0, burst=60)}

    def open(self, handler: Handler) -> Handler:
        """Let everybody in: the handler of sign-in."""

        async def checked(request: Request) -> Response:
            return await self._answered(request, handler)

        return checked

    def operator(self, handler: Handler) -> Handler:
        """Let operators in."""
        return self._for(handler, lambda person: person.operates, "This page is for operators.")

    def viewer(self, handler: Handler) -> Handler:
        """Let those in who see runs: operators and viewers."""
        return self._for(handler, lambda person: person.sees, "This page is for operators and viewers.")

    def annotator(self, handler: Handler) -> Handler:
        """Let those in who answer questions: annotators and operators."""
        return self._for(handler, lambda person: person.labels, "This page is for annotators.")

    def anyone(self, handler: Handler) -> Handler:
        """Let everybody in who is signed in."""
        return self._for(handler, lambda person: True, "")

    def _for(self, handler: Handler, admits: Callable[[Person], bool], refusal: str) -> Handler:
        async def admitted(request: Request) -> Response:
            session = request.cookies.get(COOKIE, "")
            person = self.door.read(session) if session else None
            if person is None:
                if wants_json(request) or request.method != "GET":
                    raise Refused(401, "Sign in first; the session is over or there was none.")
                return RedirectResponse("/sign-in", 303)
            request.state.person, request.state.form_key = person, self.door.form_key(session)
            if not admits(person):
                raise Refused(403, refusal)
            writes = request.method != "GET"
            wait = self._pace[writes].wait(person.name)
            if wait:
                raise Refused(429, "Too many requests; wait a moment.", {"retry-after": str(max(1, round(wait)))})
            if writes:
                same_site(request)
                await self._check_form(request, session)
            return await handler(request)

        async def checked(request: Request) -> Response:
            return await self._answered(request, admitted)

        return checked

    async def _check_form(self, request: Request, session: str) -> None:
        given = request.headers.get("x-form-key") or (await form(request)).get("form_key", "")
        if not self.door.is_form_key(session, given):
            raise Refused(403, "This form is out of date; reload the page and send it again.")

    async def _answered(self, request: Request, handler: Handler) -> Response:
        try:
            return await handler(request)
        except Refused as refused:
            return _refusal(request, refused.status, refused.text, refused.headers)
        except TesseraError as error:
            status = 503 if isinstance(error, Unavailable) else 400
            return _refusal(request, status, str(error), None, error.reason)
        except Exception:
            _log.exception("a request failed unexpectedly", extra={"path": request.url.path})
            return _refusal(
                request, 500, "The dashboard could not do this; its log has the cause. Try again in a moment."
            )


def acting_key(request: Request) -> str:
    """Return the form key for what steers runs; empty, and so no button, for whoever may only look."""
    return str(request.state.form_key) if person_of(request).operates else ""


def same_site(request: Request) -> None:
    """Refuse a request that another site's page sent."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    # Browsers that send neither header are older than same-site cookies; their cookie is not sent from elsewhere.
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if foreign:
        raise Refused(403, "This request came from another site.")


def wants_json(request: Request) -> bool:
    """Return whether a script asks, not a person."""
    return request.url.path.startswith("/api/")


async def body(request: Request, most: int) -> bytes:
    """Return the request's body; refuse more than ``most`` bytes without reading them."""
    kept: bytes | None = getattr(request.state, "body", None)
    if kept is not None:
        return kept
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise Refused(413, f"At most {most} bytes are taken.")
        parts.append(part)
    request.state.body = b"".join(parts)
    return bytes(request.state.body)


async def form(request: Request) -> dict[str, str]:
    """Return the fields of a form (URL-encoded)."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    try:
        return dict(parse_qsl((await body(request, FORM_BYTES)).decode(), keep_blank_values=True, max_num_fields=200))
    except ValueError:
        raise Refused(400, "The form cannot be read.") from None


async def json_object(request: Request, most: int) -> dict[str, Any]:
    """Return the JSON object that a request carries."""
    content = await body(request, most)
    try:
        found = json.loads(content)
        if b"\\ud" in content.lower():
            # Half of a surrogate pair is JSON but no text, and nothing could store it.
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Refused(400, "The body is not JSON.") from None
    if not isinstance(found, dict):
        raise Refused(400, "The body is not a JSON object.")
    return found


def person_of(request: Request) -> Person:
    """Return who asks; the guard has set it."""
    person: Person = request.state.person
    return person


def _refusal(
    request: Request, status: int, text: str, headers: Mapping[str, str] | None = None, reason: str = ""
) -> Response:
    if wants_json(request):
        return JSONResponse({"error": text, "reason": reason}, status, dict(headers or {}))
    return HTMLResponse(message_page(status, text, getattr(request.state, "person", None)), status, dict(headers or {}))
