"""``tessera people sync``: a run's questions in a tool's server, until the run ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tessera.adapters.replies import Rejection
from tessera.cli.output import note, say
from tessera.cli.people import FORMATS, Pictures, RunPlace, check_form
from tessera.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from tessera.adapters.tasks import ToolTask
    from tessera.runtime.people.label_studio_api import LabelStudioApi
    from tessera.runtime.runs_client import RunsClient

_TOKENS: Final = {"label-studio": "TESSERA_LABEL_STUDIO_TOKEN", "cvat": "TESSERA_CVAT_TOKEN"}
"""Names of variables by tool."""
Look = Callable[[], Awaitable[tuple[str, Sequence[Rejection]]]]
"""One look: what it has changed, empty where nothing was, and what is no answer."""


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
    asyncio.run(_cvat(place, run, live) if tool == "cvat" else _sync(place, run, live))


async def _sync(place: RunPlace, run: str, live: Live) -> None:
    from tessera.runtime.people.client import QuestionsClient
    from tessera.runtime.people.label_studio_api import LabelStudioApi
    from tessera.runtime.people.label_studio_sync import LabelStudioSync

    store = place.open()
    api = LabelStudioApi(live.url, live.token("label-studio"))
    images = Uploads(api, Pictures(store, live.images, live.hours))
    async with QuestionsClient(place.coordinator) as client:
        work = LabelStudioSync(client, api, run, images.address, live.count)

        async def look() -> tuple[str, Sequence[Rejection]]:
            done = await work.look(store)
            return str(done), done.rejected

        await _looks(place, run, live, look)


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
            await _looks(place, run, live, lambda: work.look(live.annotator))


async def _looks(place: RunPlace, run: str, live: Live, look: Look) -> None:
    """Look until the run has ended; a rejection is named once."""
    from tessera.runtime.runs_client import RunsClient

    named = set[Rejection]()
    async with RunsClient(place.coordinator) as runs:
        while True:
            try:
                ended = not live.once and await _ended(runs, run)
                text, rejected = await look()
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
            await asyncio.sleep(live.every)


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
