"""Commands that talk to a running stack: up, submit, status, watch, resume, cancel."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.cli.output import note, say
from tessera.errors import BadInput
from tessera.pb.runs_pb2 import RunStatus
from tessera.runtime.redaction import has_secret, one_line
from tessera.runtime.runs_client import RunsClient

if TYPE_CHECKING:
    from tessera.cli.run import Request
    from tessera.pb.runs_pb2 import RunView


def up(out: Path, replicas: Mapping[str, int], nats: str | None, store: str | None, dashboard: bool = False) -> None:
    """Run a stack in the foreground until interrupted."""
    from tessera.cli.folder import locked
    from tessera.cli.stack import Stack

    with locked(out), Stack(out, nats, store, replicas) as stack:
        say(f"export TESSERA_COORDINATOR={stack.coordinator}")
        for name, value in stack.environment().items():
            if has_secret(value):
                note(f"{name} holds a password and is not printed; export the value that you gave")
            else:
                say(f"export {name}={value}")
        if dashboard:
            from tessera.cli import dashboard as pages

            pages.announce(pages.serve(stack))
        note(f"up; logs in {stack.supervisor.logs}; Ctrl-C ends it")
        try:
            while True:
                stack.check()
                time.sleep(0.5)
        except KeyboardInterrupt:
            note("stopping")


def address(given: str | None) -> str:
    """Return the coordinator's address; BadInput when none is known."""
    if not given:
        raise BadInput("no coordinator: give --coordinator host:port or set TESSERA_COORDINATOR (tessera up prints it)")
    return given


def submit(request: Request, coordinator: str | None) -> str:
    """Put data and weights into the store and submit; returns the run's name."""
    return asyncio.run(_submit(request, address(coordinator)))


async def _submit(request: Request, coordinator: str) -> str:
    from tessera.cli import run, weights
    from tessera.runtime.objects import open_store
    from tessera.runtime.scratch import Scratch
    from tessera.runtime.settings import load

    recipe, record = run.plan(request)
    pretrained = weights.find(recipe.model.pretrained, recipe.model.axis.name)
    url = request.store or os.environ.get("TESSERA_STORE")
    if not url:
        raise BadInput(
            "no store: give --store URL or set TESSERA_STORE, the one that the stack uses (tessera up prints it)"
        )
    settings = load(store=url)
    scratch = Scratch(settings.scratch_dir)
    try:
        spec = await run.prepare(open_store(url, settings), record, recipe, pretrained, scratch.folder() / "data")
    finally:
        scratch.remove()
    async with RunsClient(coordinator) as runs:
        made = await runs.submit(spec)
    if made.note:
        note(made.note)
    return made.run.spec.run_id


def status(run: str | None, coordinator: str | None) -> list[str]:
    """Return one line per run, and one per method that has jobs and no worker."""

    from tessera.cli.absence import absences

    async def ask() -> tuple[list[RunView], dict[str, str]]:
        async with RunsClient(address(coordinator)) as runs:
            views = [await runs.get(run)] if run else await runs.list()
            running = any(view.status == RunStatus.RUN_STATUS_RUNNING for view in views)
            return views, absences(await runs.workers()) if running else {}

    views, absent = asyncio.run(ask())
    return [*([describe(view) for view in views] or ["no runs"]), *absent.values()]


def watch(run: str, out: Path | None, store: str | None, coordinator: str | None) -> None:
    """Follow a run; with ``out``, write its results there."""
    asyncio.run(_watch(run, out, store or os.environ.get("TESSERA_STORE"), address(coordinator)))


async def _watch(run: str, out: Path | None, store: str | None, coordinator: str) -> None:
    from tessera.cli.follow import conclude, follow
    from tessera.cli.progress import measured
    from tessera.cli.results import Results
    from tessera.cli.tracking import open_tracker
    from tessera.runtime.objects import open_store
    from tessera.runtime.settings import load

    tracker = open_tracker(load().tracking)
    if not store and (out is not None or tracker is not None):
        what = "TESSERA_TRACKING" if out is None else "--out"
        raise BadInput(f"{what} needs the stack's store: give --store URL or set TESSERA_STORE")
    objects = open_store(store, load(store=store)) if store else None
    results = Results(out, objects) if out is not None and objects is not None else None
    said: set[int] = set()

    async def changed(view: RunView) -> list[str]:
        if results is not None:
            await results.update(view)
        fresh = [entry for entry in view.rounds if entry.complete and entry.round not in said]
        said.update(entry.round for entry in fresh)
        lines = [f"round {entry.round}: {measured(entry)}" for entry in fresh]
        return lines if tracker is None or objects is None else [*lines, *await tracker.update(view, objects)]

    async with RunsClient(coordinator) as runs:
        view = await follow(runs, run, changed)
        if results is not None and view.status == RunStatus.RUN_STATUS_DONE:
            view = await runs.with_shards(view)
    if results is not None:
        await results.update(view)
    conclude(view, f"tessera resume {run}")
    if results is not None:
        await results.finish(view)
        for line in await tracker.keep(results.out) if tracker is not None else ():
            note(line)
    say(describe(view))


def resume(run: str, coordinator: str | None) -> str:
    """Let a failed or cancelled run continue."""

    async def ask() -> RunView:
        async with RunsClient(address(coordinator)) as runs:
            return await runs.resume(run)

    return describe(asyncio.run(ask()))


def redo(run: str, job_key: str, coordinator: str | None) -> str:
    """Have one result computed again, and all results built on it if the new one differs."""

    async def ask() -> RunView:
        async with RunsClient(address(coordinator)) as runs:
            return await runs.redo(run, job_key)

    return describe(asyncio.run(ask()))


def cancel(run: str, reason: str, coordinator: str | None) -> str:
    """Stop a run."""

    async def ask() -> RunView:
        async with RunsClient(address(coordinator)) as runs:
            return await runs.cancel(run, reason)

    return describe(asyncio.run(ask()))


def describe(view: RunView) -> str:
    """Return a run in one line."""
    state = RunStatus.Name(view.status).removeprefix("RUN_STATUS_").lower()
    # Names and reasons are foreign text, which must not forge a second line.
    name, step, message = (one_line(each) for each in (view.spec.run_id, view.step, view.message))
    text = f"{name:<40} {state:<10} round {view.round}/{view.planned_rounds} {step}"
    if view.waiting:
        text += f"  {one_line(view.waiting)}"
    elif view.jobs_total:
        text += f" {view.jobs_done}/{view.jobs_total} jobs"
    return f"{text}  {message}".rstrip()
