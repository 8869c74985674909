"""The dashboard's addresses and what answers them."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from services.dashboard import web
from services.dashboard.feeds import Feeds
from services.dashboard.layout import page
from services.dashboard.links import Links
from services.dashboard.pages import annotators, comparing, home, labelling, rounds, run, workers
from services.dashboard.questions import Questions
from services.dashboard.run_data import RunData
from services.dashboard.sign_in import Door, Person
from tessera.errors import BadInput
from tessera.reporting.style import CSS
from tessera.runtime.access import Access
from tessera.runtime.dead_letters import DeadLetters
from tessera.runtime.messaging import Messaging
from tessera.runtime.objects import ObjectStore
from tessera.runtime.rpc import Channel
from tessera.runtime.runs_client import RunsClient
from tessera.runtime.settings import Settings

_STATIC: Final = Path(__file__).with_name("static")
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class Dashboard:
    """The application and what it holds open."""

    def __init__(
        self, door: Door, data: RunData, questions: Questions, *, secure: bool = False, links: Links | None = None
    ) -> None:
        self.door, self.data, self.questions = door, data, questions
        self.links = links or Links()
        self.feeds = Feeds(data.runs)
        self._secure = secure
        self._files = _files()
        self.app = web.Headers(Starlette(routes=self._routes()), secure=secure)

    @staticmethod
    def open(settings: Settings, store: ObjectStore, messaging: Messaging) -> Dashboard:
        """Connect to the coordinator of the settings; BadInput where a setting is missing."""
        if not settings.coordinator:
            raise BadInput("TESSERA_COORDINATOR: is not set; give the coordinator's address, host:port")
        token = settings.http_token.get_secret_value() if settings.http_token else ""
        links = Links(messaging)
        door = Door(token, Access(settings.access), links.is_revoked)
        data = RunData(RunsClient(settings.coordinator), store, DeadLetters(messaging), settings)
        questions = Questions(Channel(settings.coordinator, settings), store, door)
        secure = settings.http_secure or settings.http_cert is not None
        return Dashboard(door, data, questions, secure=secure, links=links)

    async def close(self) -> None:
        """Disconnect."""
        await self.feeds.close()
        await self.data.predictions.close()
        await self.data.runs.close()
        await self.questions.close()

    def _routes(self) -> list[Route]:
        guard = web.Guard(self.door)
        see, act, sign = guard.viewer, guard.operator, partial(guard.open)
        data, questions = self.data, self.questions
        read: list[tuple[str, web.Handler]] = [
            ("/", see_or_label(guard, partial(home.show, data))),
            ("/runs/{run_id}", see(partial(run.show, data, questions))),
            ("/runs/{run_id}/events", see(self._run_events)),
            ("/events", see(self._list_events)),
            ("/runs/{run_id}/rounds/{number:int}", see(partial(rounds.show, data))),
            ("/runs/{run_id}/rounds/{number:int}/pictures/{place:int}", see(partial(rounds.picture, data))),
            ("/runs/{run_id}/rounds/{number:int}/images/{place:int}", see(partial(rounds.image, data))),
            ("/runs/{run_id}/rounds/{number:int}/images/{place:int}/prediction", see(partial(rounds.predicted, data))),
            ("/compare", see(partial(comparing.show, data))),
            ("/workers", see(partial(workers.show, data))),
            ("/annotators", act(partial(annotators.show, data, self.links))),
            ("/label", guard.annotator(labelling.show)),
            ("/api/rounds", guard.annotator(questions.rounds)),
            ("/api/objects/{token}", guard.annotator(questions.image)),
            ("/sign-in", sign(self._sign_in_page)),
            ("/static/{name:path}", sign(self._file)),
            ("/report.css", sign(self._report_css)),
            ("/{path:path}", guard.anyone(_nothing)),
        ]
        write: list[tuple[str, web.Handler]] = [
            ("/runs/{run_id}/cancel", act(partial(run.cancel, data))),
            ("/runs/{run_id}/resume", act(partial(run.resume, data))),
            ("/runs/{run_id}/close-round", act(partial(run.close_round, questions))),
            ("/workers/requeue", act(partial(workers.requeue, data))),
            ("/annotators", act(partial(annotators.invite, data, self.door, self.links))),
            ("/annotators/revoke", act(partial(annotators.revoke, self.links))),
            ("/api/next", guard.annotator(questions.next)),
            ("/api/answer", guard.annotator(questions.answer)),
            ("/api/skip", guard.annotator(questions.skip)),
            ("/api/renew", guard.annotator(questions.renew)),
            ("/sign-in", sign(partial(self._sign_in, guard))),
            ("/sign-out", guard.anyone(self._sign_out)),
        ]
        return [
            *(Route(path, handler, methods=["POST"]) for path, handler in write),
            *(Route(path, handler, methods=["GET"]) for path, handler in read),
        ]

    async def _run_events(self, request: Request) -> Response:
        run_id = request.path_params["run_id"]
        await self.data.runs.get(run_id)  # an unknown run is told at once
        return StreamingResponse(self.feeds.run(run_id), media_type="text/event-stream")

    async def _list_events(self, request: Request) -> Response:
        return StreamingResponse(self.feeds.all(), media_type="text/event-stream")

    async def _sign_in_page(self, request: Request) -> Response:
        return HTMLResponse(page("Sign in", None, labelling.sign_in_form(), modules=("sign-in",)))

    async def _sign_in(self, guard: web.Guard, request: Request) -> Response:
        web.same_site(request)
        host = request.client.host if request.client else ""
        wait = guard.sign_in.wait(host)
        if wait:
            raise web.Refused(429, "Too many tries; wait a moment.", {"retry-after": str(max(1, round(wait)))})
        person = self.door.admit((await web.form(request)).get("token", "").strip())
        if person is None:
            raise web.Refused(401, "This link or token is not valid, or its time is over. Ask for a new one.")
        # Only guesses are counted: behind a proxy everybody comes from one address.
        guard.sign_in.give_back(host)
        return self._entered(person)

    def _entered(self, person: Person) -> Response:
        response = RedirectResponse("/" if person.sees else "/label", 303)
        # Lax: a link to a page works from elsewhere; what changes something needs a form key as well.
        response.set_cookie(
            web.COOKIE, self.door.sign(person), httponly=True, samesite="lax", secure=self._secure, path="/"
        )
        return response

    async def _sign_out(self, request: Request) -> Response:
        response = RedirectResponse("/sign-in", 303)
        response.delete_cookie(web.COOKIE, path="/", httponly=True, samesite="lax", secure=self._secure)
        return response

    async def _file(self, request: Request) -> Response:
        found = self._files.get(request.path_params["name"])
        if found is None:
            raise web.Refused(404, "There is no such file.")
        return _cached(request, *found)

    async def _report_css(self, request: Request) -> Response:
        return _cached(request, CSS.encode(), "text/css")


def see_or_label(guard: web.Guard, handler: web.Handler) -> web.Handler:
    """Show a page to those who see runs, and send annotators to their questions."""

    async def chosen(request: Request) -> Response:
        if not web.person_of(request).sees:
            return RedirectResponse("/label", 303)
        return await handler(request)

    return guard.anyone(chosen)


async def _nothing(request: Request) -> Response:
    raise web.Refused(404, "There is no page at this address.")


def _files() -> dict[str, tuple[bytes, str]]:
    """Return the static files by name with their media types, read once: there is no path to traverse."""
    return {
        path.relative_to(_STATIC).as_posix(): (path.read_bytes(), _TYPES[path.suffix])
        for path in sorted(_STATIC.rglob("*"))
        if path.suffix in _TYPES
    }


def _cached(request: Request, content: bytes, media_type: str) -> Response:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)
