"""Follow a run to its end through the coordinator, and turn its end into a result or an error."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from tessera.cli import progress as bars
from tessera.cli.absence import absences
from tessera.cli.processes import patience_seconds
from tessera.errors import BadInput, Cancelled, CorruptObject, JobFailedError, TesseraError, Unavailable
from tessera.pb.runs_pb2 import RUN_STATUS_CANCELLED, RUN_STATUS_DONE, RUN_STATUS_FAILED, RUN_STATUS_RUNNING
from tessera.runtime.runs_client import RunsClient

if TYPE_CHECKING:
    from tessera.pb.runs_pb2 import RunView

ABSENCE_SECONDS, AGAIN_SECONDS = 5.0, 60.0
OUTAGE_SECONDS = 1.0


async def follow(
    runs: RunsClient,
    run_id: str,
    changed: Callable[[RunView], Awaitable[list[str]]],
    check: Callable[[], None] | None = None,
) -> RunView:
    """Watch until the run ends and return its last state; ``changed(state)`` returns lines to keep on the screen.

    Waits for a coordinator that goes away: ``check`` raises when it will not come back, and Unavailable is raised after
    a minute (``TESSERA_PATIENCE_SECONDS``) without it. Waits without a limit for a store that ``changed`` finds
    unavailable, because the run's own jobs wait for it, too; a line says so at once and every minute.
    """
    watching = asyncio.create_task(_watch(runs, run_id, changed))
    # In a task of its own, because a stream without changes yields nothing.
    guard = asyncio.create_task(_guard(check or (lambda: None)))
    try:
        await asyncio.wait([watching, guard], return_when=asyncio.FIRST_COMPLETED)
        if guard.done():
            await guard
        return await watching
    finally:
        for task in (watching, guard):
            task.cancel()
        await asyncio.gather(watching, guard, return_exceptions=True)


async def _guard(check: Callable[[], None]) -> None:
    while True:
        await asyncio.to_thread(check)
        await asyncio.sleep(0.5)


async def _watch(runs: RunsClient, run_id: str, changed: Callable[[RunView], Awaitable[list[str]]]) -> RunView:
    patience = patience_seconds()
    # When the coordinator was lost: a quiet stream is not a lost one.
    lost: float | None = None
    view: RunView | None = None
    with bars.ProgressBar("waiting for the coordinator") as progress, _told_absences(runs, progress):
        while True:
            try:
                async for response in runs.watch(run_id):
                    view, lost = response.run, None
                    bars.show(progress, response)
                    for line in await _patiently(changed, view, progress):
                        progress.line(line)
                if view is not None and view.status != RUN_STATUS_RUNNING:
                    return view
            except (BadInput, CorruptObject):
                raise
            except TesseraError as error:
                # The service ended during the stream: the supervisor, or the cluster, starts it again.
                lost = time.monotonic() if lost is None else lost
                if time.monotonic() - lost > patience:
                    raise Unavailable(f"run {run_id}: {error}; the run is kept, resume it later") from None
            await asyncio.sleep(0.3)


async def _patiently(
    changed: Callable[[RunView], Awaitable[list[str]]], view: RunView, progress: bars.ProgressBar
) -> list[str]:
    said: float | None = None
    while True:
        try:
            return await changed(view)
        except Unavailable as error:
            if said is None or time.monotonic() - said >= AGAIN_SECONDS:
                said = time.monotonic()
                progress.line(f"results wait to be written: {error}")
            await asyncio.sleep(OUTAGE_SECONDS)


@contextlib.contextmanager
def _told_absences(runs: RunsClient, progress: bars.ProgressBar) -> Iterator[None]:
    """Say which methods have no worker, at once and every minute while the block lasts."""

    async def tell() -> None:
        said: dict[str, float] = {}
        while True:
            await asyncio.sleep(ABSENCE_SECONDS)
            now = time.monotonic()
            found = absences(await runs.workers())
            said = {method: at for method, at in said.items() if method in found and now - at < AGAIN_SECONDS}
            for method in found.keys() - said.keys():
                progress.line(found[method])
                said[method] = now

    task = asyncio.create_task(tell())
    try:
        yield
    finally:
        task.cancel()


def conclude(view: RunView, again: str) -> None:
    """Return when the run is done; otherwise raise the error of its end (exit codes 2, 3, 130).

    ``again`` is the command that continues the run.
    """
    run_id, message = view.spec.run_id, view.message
    if view.status == RUN_STATUS_FAILED:
        kind = BadInput if view.exit_code == 2 else JobFailedError
        raise kind(f"run {run_id} failed: {message}")
    if view.status == RUN_STATUS_CANCELLED:
        raise Cancelled(f"run {run_id} was cancelled{': ' + message if message else ''}; continue with: {again}")
    if view.status != RUN_STATUS_DONE:
        raise JobFailedError(f"run {run_id}: ended in an unknown state {view.status}")
