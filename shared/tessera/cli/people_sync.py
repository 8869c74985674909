"""``tessera people sync``: a run's questions in a tool's server, until the run ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tessera.adapters.replies import Rejection
from tessera.cli.output import note, say
from tessera.cli.people import FORMATS, Pictures, RunPlace, check_form
from tessera.errors import BadInput, TesseraError, Unavailable

if TYPE_CHECKING:
    from tessera.adapters.tasks import ToolTask
    from tessera.runtime.people.label_studio_api import LabelStudioApi
    from tessera.runtime.people.label_studio_sync import LabelStudioSync
    from tessera.runtime.people.webhook import Webhook
    from tessera.runtime.runs_client import RunsClient

_TOKENS: Final = {"label-studio": "TESSERA_LABEL_STUDIO_TOKEN", "cvat": "TESSERA_CVAT_TOKEN"}
"""Names of variables by tool."""
_SELDOM_SECONDS: Final = 300.0
"""Between two looks at Label Studio where it calls us: a call can be lost."""
_SOON_SECONDS: Final = 0.3
"""From one look to the next, however often Label Studio calls."""
Look = Callable[[bool], Awaitable[tuple[str, Sequence[Rejection]]]]
"""One look, the last one or not: what it has changed, empty where nothing was, and what is no answer."""


@dataclass(frozen=True)
class Live:
    """How a server is reached and looked at."""

    url: str
    token_file: Path | None
    count: int
    images: str
    hours: float
    every: float
    once: bool
    annotator: str = ""
    organization: str = ""
    images_per_job: int = 10
    webhook: str = ""
    """Address at which Label Studio reaches ``listen``; empty: it is asked every ``every`` seconds."""
    listen: str = "127.0.0.1:8081"

    def token(self, tool: str) -> str:
        """Return the token from the file or the environment."""
        variable = _TOKENS[tool]
        found = self.token_file.read_text() if self.token_file is not None else os.environ.get(variable, "")
        if not found.strip():
            raise BadInput(f"no token: give --token-file or set {variable}")
        return found.strip()


def sync(tool: str, place: RunPlace, run: str, live: Live) -> None:
    """Look until the run has ended and its rounds are tidied up; a server that is away is asked again."""
    check_form(tool, FORMATS)
    if live.webhook and (tool != "label-studio" or live.once):
        raise BadInput("--webhook: only for label-studio, and not with --once")
    asyncio.run(_cvat(place, run, live) if tool == "cvat" else _sync(place, run, live))


async def _sync(place: RunPlace, run: str, live: Live) -> None:
    from tessera.runtime.people.client import QuestionsClient
    from tessera.runtime.people.label_studio_api import LabelStudioApi
    from tessera.runtime.people.label_studio_sync import CallBack, LabelStudioSync
    from tessera.runtime.people.webhook import Webhook

    store = place.open()
    api = LabelStudioApi(live.url, live.token("label-studio"))
    images = Uploads(api, Pictures(store, live.images, live.hours))
    async with contextlib.AsyncExitStack() as opened:
        client = await opened.enter_async_context(QuestionsClient(place.coordinator))
        hook = await opened.enter_async_context(Webhook(live.listen)) if live.webhook else None
        call = CallBack(_address(live.webhook, hook.port), hook.headers) if hook else None
        work = LabelStudioSync(client, api, run, images.address, live.count, call)
        times = LookTimes(hook, work, live.every)

        async def look(last: bool) -> tuple[str, Sequence[Rejection]]:
            if not (last or await times.due()):
                return "", ()
            done = await work.look(store)
            times.looked()
            return str(done), done.rejected

        try:
            await _looks(place, run, live, look, times.pause)
        finally:
            # Best effort: the next sync of the run takes over what is left.
            with contextlib.suppress(TesseraError):
                await work.close()


def _address(url: str, port: int) -> str:
    """Return the address that Label Studio calls; port 0 stands for the one that was found free."""
    parts = urlsplit(url)
    try:
        given = parts.port
    except ValueError:
        given, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(
            f"--webhook {url}: write the address at which Label Studio reaches --listen, https://HOST:PORT/PATH"
        )
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}").geturl() if given == 0 else url


class LookTimes:
    """When to look at Label Studio: always, or where it calls us when it has, when rounds change, and now and then."""

    def __init__(self, hook: Webhook | None, work: LabelStudioSync, every: float) -> None:
        self._hook, self._work, self._every = hook, work, every
        self._next, self._heard = 0.0, False

    async def due(self) -> bool:
        """Return whether to look now."""
        if self._hook is None or self._heard or time.monotonic() >= self._next:
            return True
        return await self._work.rounds_changed()

    def looked(self) -> None:
        """Note a look that came through; one that did not is due again."""
        self._next, self._heard = time.monotonic() + max(_SELDOM_SECONDS, self._every), False

    async def pause(self) -> None:
        """Wait until a look may be due."""
        if self._hook is None:
            await asyncio.sleep(self._every)
        else:
            await asyncio.sleep(min(_SOON_SECONDS, self._every))
            self._heard = await self._hook.heard(self._every) or self._heard


async def _cvat(place: RunPlace, run: str, live: Live) -> None:
    from tessera.runtime.people.client import QuestionsClient
    from tessera.runtime.people.cvat import CvatServer
    from tessera.runtime.people.cvat_sync import CvatSync

    how, _, number = live.images.partition(":")
    if live.images != "upload" and (how != "cloud" or not number.isdecimal()):
        raise BadInput(
            f"--images {live.images}: unknown for CVAT; write upload or cloud:NUMBER, a storage of the server"
        )
    with CvatServer(live.url, live.token("cvat"), organization=live.organization) as server:
        async with QuestionsClient(place.coordinator) as client:
            work = CvatSync(client, place.open(), server, run, live.count, live.images_per_job, int(number or 0))
            await _looks(place, run, live, lambda _: work.look(live.annotator))


async def _looks(
    place: RunPlace, run: str, live: Live, look: Look, pause: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Look until the run has ended; a rejection is named once. ``pause`` waits between looks."""
    from tessera.runtime.runs_client import RunsClient

    named = set[Rejection]()
    async with RunsClient(place.coordinator) as runs:
        while True:
            try:
                ended = not live.once and await _ended(runs, run)
                text, rejected = await look(ended)
                if text:
                    say(text)
                for one in rejected:
                    if one not in named:
                        note(f"not read: {one.place}: {one.reason}")
                named.update(rejected)
                if ended or live.once:
                    return
            except Unavailable as error:
                if live.once:
                    raise
                note(f"waiting: {error}")
            await (asyncio.sleep(live.every) if pause is None else pause())


async def _ended(runs: RunsClient, run: str) -> bool:
    from tessera.loop.reducer import CANCELLED, DONE, FAILED

    return (await runs.get(run)).status in (DONE, FAILED, CANCELLED)


class Uploads:
    """Images on the server: each is uploaded once per project, under its hash."""

    def __init__(self, api: LabelStudioApi, images: Pictures) -> None:
        self._api, self._images = api, images
        self._there: dict[int, dict[str, str]] = {}

    async def address(self, project: int, task: ToolTask) -> str:
        """Return the address under which the server shows the image of a task."""
        if self._images.how != "upload":
            return await self._images.address(task)
        if project not in self._there:
            self._there[project] = await self._api.uploads(project)
        known = self._there[project]
        for kind in ("png", "jpg"):
            if found := known.get(f"{task.image.sha256}.{kind}"):
                return found
        media, data = await self._images.read(task)
        name = f"{task.image.sha256}.{'png' if media == 'image/png' else 'jpg'}"
        known[name] = await self._api.upload(project, name, data, media)
        return known[name]
