"""Workers, their queues, and jobs that failed for good."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.dashboard import web
from services.dashboard.layout import button, page, pages_of
from services.dashboard.pages.home import number
from services.dashboard.run_data import RunData
from tessera.pb.workers_pb2 import MethodWorkers
from tessera.reporting.markup import Markup, el
from tessera.reporting.numbers import duration
from tessera.reporting.tables import table
from tessera.runtime.dead_letters import DeadLetter

PAGE = 50


async def show(data: RunData, request: Request) -> Response:
    """Show who serves each method, how many jobs wait, and the dead letters."""
    methods = await data.runs.workers()
    letters = list(reversed(await data.letters.list()))
    at, key = number(request), request.state.form_key
    content = el(
        "div",
        el("h2", "Queues"),
        _queues(methods),
        el("h2", "Failed jobs"),
        _letters(letters[at * PAGE : (at + 1) * PAGE], len(letters), web.acting_key(request)),
        pages_of(len(letters), at, PAGE, "/workers"),
        id="live",
        class_="listing",
        data_every="5",
    )
    body = page("Workers", web.person_of(request), el("h1", "Workers"), content, form_key=key, here="/workers")
    return HTMLResponse(body)


async def requeue(data: RunData, request: Request) -> Response:
    """Queue a failed job again, or all of them."""
    job_key = (await web.form(request)).get("job_key", "")
    if not job_key:
        raise web.Refused(400, "Say which job to queue again.")
    await data.letters.requeue(None if job_key == "all" else job_key)
    return RedirectResponse("/workers", 303)


def _queues(methods: Sequence[MethodWorkers]) -> Markup:
    if not methods:
        return el("p", "The coordinator has not told of its queues yet.")
    rows: list[list[str | Markup]] = [
        [one.service, one.method, _presence(one), f"{one.waiting_jobs:,}", f"{one.taken_jobs:,}"] for one in methods
    ]
    return table(["service", "method", "workers", "jobs waiting", "jobs taken"], rows, "Queues")


def _presence(one: MethodWorkers) -> str | Markup:
    if one.queue_missing:
        return el("td", el("b", "the queue is gone from NATS"), class_="bad")
    if one.absent:
        return el("td", el("b", f"none for {duration(one.unseen_seconds)}"), class_="bad" if one.waiting_jobs else None)
    return f"ready ({one.waiting_requests} waiting for a job)" if one.waiting_requests else "at work"


def _letters(letters: Sequence[DeadLetter], total: int, key: str) -> Markup:
    if not letters:
        return el("p", "No job has failed for good.")
    rows: list[list[str | Markup]] = []
    for letter in letters:
        failed = letter.failure
        job, run = failed.job_key, failed.envelope.run_id
        again = (
            button("Queue again", "/workers/requeue", key, quiet=True, job_key=job) if failed.envelope.job_key else ""
        )
        rows.append(
            [
                # First, where a narrow screen shows it whatever the length of the names.
                again,
                el("code", job[:12], title=job),
                failed.method or letter.verb,
                el("a", run, href=f"/runs/{run}") if run else "",
                el("td", el("b", failed.reason), f" {failed.message}", class_="words"),
                f"{failed.attempts}",
                f"{letter.time:%Y-%m-%d %H:%M:%S}",
            ]
        )
    head = ["", "job", "method", "run", "reason", "attempts", "time (UTC)"]
    everything = button(f"Queue all again ({total})", "/workers/requeue", key, job_key="all")
    note = el(
        "p", "A failed run does not continue by itself: resume it after its jobs are queued again.", class_="note"
    )
    return Markup(table(head, rows, "Failed jobs, the newest first") + note + everything)
