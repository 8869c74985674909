"""``tessera people sync``: a run's questions in a tool's server, until the run ends."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tessera.cli.output import note, say
from tessera.cli.people import Pictures, Place, check_form
from tessera.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from tessera.adapters.tasks import ToolTask
    from tessera.runtime.label_studio_api import LabelStudioApi
    from tessera.runtime.runs_client import RunsClient

_TOKEN: Final = "TESSERA_LABEL_STUDIO_TOKEN"  # noqa: S105  # the name of a variable


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

    def token(self) -> str:
        """Return the token from the file or the environment."""
        found = self.token_file.read_text() if self.token_file is not None else os.environ.get(_TOKEN, "")
        if not found.strip():
            raise BadInput(f"no token: give --token-file or set {_TOKEN}")
        return found.strip()


def sync(tool: str, place: Place, run: str, live: Live) -> None:
    """Look until the run has ended and its rounds are tidied up; a server that is away is asked again."""
    check_form(tool, ("label-studio",))
    asyncio.run(_sync(place, run, live))


async def _sync(place: Place, run: str, live: Live) -> None:
    from tessera.runtime.label_studio_api import LabelStudioApi
    from tessera.runtime.label_studio_sync import LabelStudioSync
    from tessera.runtime.people.client import QuestionsClient
    from tessera.runtime.runs_client import RunsClient

    store = place.open()
    api = LabelStudioApi(live.url, live.token())
    images = Uploads(api, Pictures(store, live.images, live.hours))
    async with QuestionsClient(place.coordinator) as client, RunsClient(place.coordinator) as runs:
        work = LabelStudioSync(client, api, run, images.address, live.count)
        while True:
            try:
                ended = await _ended(runs, run)
                done = await work.look(store)
                if text := str(done):
                    say(text)
                for one in done.rejected:
                    note(f"not read: {one.place}: {one.reason}")
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
        media, data = "", b""
        for kind in ("png", "jpg"):
            if found := known.get(f"{task.image.sha256}.{kind}"):
                return found
        media, data = await self._images.read(task)
        name = f"{task.image.sha256}.{'png' if media == 'image/png' else 'jpg'}"
        known[name] = await self._api.upload(project, name, data, media)
        return known[name]
