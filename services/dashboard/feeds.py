"""Server-sent events: one watcher per run and process, whatever the number of browsers that look at it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Final

from services.dashboard.words import position, state_of, version, version_of_list
from tessera.errors import TesseraError
from tessera.loop.summary import headline, quality
from tessera.pb.runs_pb2 import RUN_STATUS_RUNNING, WatchRunResponse
from tessera.runtime.runs_client import RunsClient

BEAT_SECONDS: Final = 15.0
_LIST_SECONDS: Final = 2.0
_AGAIN_SECONDS: Final = 2.0
MOST_LISTENERS: Final = 500


class Feeds:
    """Shares watchers between listeners; a watcher ends a moment after its last listener has left."""

    def __init__(self, runs: RunsClient) -> None:
        self._runs = runs
        self._feeds: dict[str, _Feed] = {}
        self.stopping = asyncio.Event()

    async def run(self, run_id: str) -> AsyncGenerator[bytes, None]:
        """Yield the events of one run; the first tells its state now."""
        async for chunk in self._listen(run_id, lambda: _run_states(self._runs, run_id)):
            yield chunk

    async def all(self) -> AsyncGenerator[bytes, None]:
        """Yield an event whenever the list of runs has changed."""
        async for chunk in self._listen("", lambda: _list_states(self._runs)):
            yield chunk

    async def close(self) -> None:
        """End every stream and watcher."""
        self.stopping.set()
        feeds, self._feeds = list(self._feeds.values()), {}
        for feed in feeds:
            await feed.stop()

    async def _listen(self, name: str, states: Callable[[], AsyncIterator[str]]) -> AsyncGenerator[bytes, None]:
        if sum(len(feed.listeners) for feed in self._feeds.values()) >= MOST_LISTENERS:
            yield b"retry: 30000\n\n"
            return
        feed = self._feeds.setdefault(name, _Feed(states))
        news = asyncio.Event()
        feed.enter(news)
        shown = ""
        try:
            yield b"retry: 2000\n\n"
            while not self.stopping.is_set():
                if feed.state and feed.state != shown:
                    shown = feed.state
                    yield f"event: state\ndata: {shown}\n\n".encode()
                news.clear()
                if feed.state == shown:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(BEAT_SECONDS):
                            await news.wait()
                        continue
                    # Also how a connection that is gone is noticed.
                    yield b": beat\n\n"
        finally:
            feed.listeners.discard(news)
            if not feed.listeners:
                self._feeds.pop(name, None)
                await feed.stop()


class _Feed:
    """The newest state of one watcher, and who waits for the next."""

    def __init__(self, states: Callable[[], AsyncIterator[str]]) -> None:
        self._states = states
        self.state = ""
        self.listeners: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None

    def enter(self, news: asyncio.Event) -> None:
        self.listeners.add(news)
        if self._task is None:
            self._task = asyncio.create_task(self._follow(), name="dashboard feed")

    async def stop(self) -> None:
        for news in self.listeners:
            news.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            try:
                async for state in self._states():
                    self._tell(state)
            except TesseraError as error:
                self._tell(json.dumps({"trouble": str(error)}))
            await asyncio.sleep(_AGAIN_SECONDS)

    def _tell(self, state: str) -> None:
        if state != self.state:
            self.state = state
            for news in self.listeners:
                news.set()


async def _run_states(runs: RunsClient, run_id: str) -> AsyncIterator[str]:
    async with contextlib.aclosing(runs.watch(run_id)) as responses:  # type: ignore[type-var]  # it is a generator
        async for response in responses:
            yield json.dumps(told(response))
            ended = response.run.status != RUN_STATUS_RUNNING
    while ended:
        # The run may be resumed by somebody: look now and then.
        await asyncio.sleep(_LIST_SECONDS)
        ended = (await runs.get(run_id)).status != RUN_STATUS_RUNNING


async def _list_states(runs: RunsClient) -> AsyncIterator[str]:
    while True:
        views = await runs.list()
        yield json.dumps({"version": version_of_list(views)})
        await asyncio.sleep(_LIST_SECONDS)


def told(response: WatchRunResponse) -> dict[str, Any]:
    """Return what a browser is told of a run: ``version`` changes when the page has to be read again.

    Every event tells all of it, so that a browser that comes back has missed nothing: ``measured`` holds the newest
    complete round and its mIoU (accuracy where images are classified) by split.
    """
    run = response.run
    complete = [entry for entry in run.rounds if entry.complete]
    newest = complete[-1] if complete else None
    return {
        "version": version(run),
        "state": state_of(run),
        "round": run.round,
        "step": run.step,
        "where": position(run),
        "done": run.jobs_done,
        "jobs": run.jobs_total,
        "fraction": round(response.fraction, 3),
        "note": response.note[:300],
        "measured": newest and {"round": newest.round, **{one.split: headline(quality(one)) for one in newest.splits}},
    }
