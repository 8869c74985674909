"""Rounds of questions in CVAT: as files that people carry, or on a server."""

from __future__ import annotations

import asyncio
import datetime
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tessera.adapters.cvat import files, images_xml, masks_zip
from tessera.adapters.cvat.images_xml import CvatDocument
from tessera.adapters.cvat.questions import CvatSource, image_name, images_of, replies
from tessera.adapters.cvat.scheme import raw_labels, scheme
from tessera.adapters.replies import Rejection, ToolReply, outcomes_told
from tessera.adapters.tasks import ToolTask
from tessera.errors import BadInput, TesseraError
from tessera.pb import questions_pb2 as pb
from tessera.registry import canonical_json
from tessera.runtime.people.client import GivenRound, QuestionsClient, holder, open_round
from tessera.runtime.people.held_tasks import held_tasks

if TYPE_CHECKING:
    from tessera.runtime.objects import ObjectStore
    from tessera.runtime.people.cvat import CvatServer

TOOL: Final = "cvat"
_HELD: Final = 1000
"""Questions that one holder has at most."""
HOLD_SECONDS: Final = 14 * 86_400.0
"""How long questions are kept for CVAT: people carry files for days."""


async def export(
    client: QuestionsClient,
    store: ObjectStore,
    run: str,
    to: Path,
    *,
    count: int = 1000,
    seconds: float = HOLD_SECONDS,
    pictures: bool = True,
) -> str:
    """Write the open round of a run to the folder ``to``; return a sentence on it.

    ``annotations.xml`` (CVAT for images 1.1), ``labels.json`` for the box "Raw" of CVAT's label editor, ``images/``
    unless ``pictures`` is off, and for queries about pixels ``masks.zip`` (Segmentation mask 1.1), the predictions.
    """
    round_, tasks = await held_tasks(client, await open_round(client, run), TOOL, count, seconds, store)
    names, images = scheme(round_), images_of(round_, tasks)
    document = CvatDocument(names.labels, tuple(images), f"{run} round {round_.round}")
    _write(to / "annotations.xml", images_xml.write(document))
    _write(to / "labels.json", f"{canonical_json(raw_labels(names.labels))}\n".encode())
    if round_.shape == "raster" and any(task.prediction is not None for task in tasks):
        labels = [one for one in names.labels if one.name in names.classes]
        _write(to / "masks.zip", masks_zip.write(labels, images))
    if pictures:
        async for name, data in _pictures(store, tasks):
            _write(to / "images" / name, data)
    return f"{to}: {len(tasks)} questions about {len(images)} images, query {round_.query}"


async def _pictures(store: ObjectStore, tasks: Sequence[ToolTask]) -> AsyncIterator[tuple[str, bytes]]:
    """Yield name and bytes of the image of each of these questions, once."""
    by_name = {image_name(task): task.image for task in sorted(tasks, key=lambda one: -one.rank)}
    for name, ref in by_name.items():
        yield name, await store.get(ref)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


class CvatOutcome:
    """What became of answers that were given: counts by outcome, and what was none with the reason."""

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}
        self.rejections: list[Rejection] = []

    async def give(self, given: GivenRound, found: Sequence[ToolReply], wrong: Sequence[Rejection]) -> None:
        """Give answers to their round, one after the other."""
        self.rejections += wrong
        for one in found:
            try:
                outcome = await given.give(one)
            except BadInput as error:
                self.rejections.append(Rejection(f"{one.place}, question {_rank(one)}", str(error)))
            else:
                self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


def _rank(reply: ToolReply) -> str:
    return reply.question_id.rpartition(".")[2]


async def give_files(
    client: QuestionsClient, run: str, paths: Sequence[Path], annotator: str, *, finished: bool = False
) -> CvatOutcome:
    """Give the answers in files that were exported from CVAT to the open round of a run.

    ``annotator``: who answered where a file does not say. ``finished``: everything in the files is an answer, marked
    done or not. A file that cannot be read is named among the rejections and keeps no other from being read.
    """
    given = GivenRound(client, await open_round(client, run))
    await given.load()
    told, expected = CvatOutcome(), given.of_tool(TOOL)
    for path in paths:
        try:
            changed = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).isoformat()
            found = files.read(path.read_bytes(), path.name)
            who = found.assignee or annotator
            if not who:
                raise BadInput(f"{path.name}: does not say who answered; name the annotator")
        except OSError as error:
            told.rejections.append(Rejection(str(path), f"cannot be read: {error.strerror}"))
        except TesseraError as error:
            told.rejections.append(Rejection(str(path), str(error)))
        else:
            place = f"CVAT files of round {given.round.key[:12]}"
            source = CvatSource(place, who, found.dumped or changed, finished, found.bare)
            await told.give(given, *replies(given.round, list(given.tasks.values()), found.images, source, expected))
    return told


async def put(
    client: QuestionsClient,
    store: ObjectStore,
    server: CvatServer,
    run: str,
    *,
    count: int = 1000,
    images_per_job: int = 10,
    cloud_storage: int = 0,
) -> str:
    """Put the open round of a run on a CVAT server; return a sentence on it. Repeat it where it was cut off.

    Questions that find no place, because the round was put there without them, are given back.
    """
    from tessera.runtime.people import cvat_rounds

    message = await open_round(client, run)
    if not await _left(client, message):
        return f"round {message.round}: no question is left for CVAT"
    round_, tasks = await held_tasks(client, message, TOOL, count, HOLD_SECONDS, store)
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(prefix="tessera-cvat-") as folder:

        async def save(asked: Sequence[ToolTask]) -> list[Path]:
            async for name, data in _pictures(store, asked):
                _write(Path(folder) / name, data)
            return [Path(folder) / image_name(one) for one in asked]

        place = await asyncio.to_thread(
            cvat_rounds.put,
            server,
            round_,
            tasks,
            lambda asked: asyncio.run_coroutine_threadsafe(save(asked), loop).result(),
            images_per_job=images_per_job,
            cloud_storage=cloud_storage,
        )
    left = [one.question_id for one in tasks if one.question_id not in place.questions]
    for at in range(-(-len(tasks) // _HELD) if left else 0):
        await client.release(holder(TOOL, at), left)
    return f"{place.url}: {len(place.questions)} questions in {place.jobs} jobs, {place.drawn} of them new"


async def _left(client: QuestionsClient, message: pb.QuestionRound) -> bool:
    """Return whether a round has a question that CVAT holds, or may."""
    async for view in client.views(message.key):
        if view.state == pb.QUESTION_STATE_FREE or any(one.partition(".")[0] == TOOL for one in view.holders):
            return True
    return False


async def fetch(client: QuestionsClient, server: CvatServer, run: str, annotator: str) -> CvatOutcome:
    """Give the answers in finished jobs of a CVAT server to the open round of a run, each once."""
    from tessera.runtime.people import cvat_rounds

    given = GivenRound(client, await open_round(client, run))
    await given.load()
    told, tasks = CvatOutcome(), list(given.tasks.values())
    harvest = await asyncio.to_thread(
        cvat_rounds.fetch, server, given.round, tasks, annotator or TOOL, given.of_tool(TOOL)
    )
    await told.give(given, harvest.replies, harvest.rejections)
    return told


class CvatSync:
    """A run whose rounds are answered on a CVAT server. What it remembers only saves work: another may go on."""

    def __init__(
        self,
        client: QuestionsClient,
        store: ObjectStore,
        server: CvatServer,
        run: str,
        count: int = 1000,
        images_per_job: int = 10,
        cloud_storage: int = 0,
    ) -> None:
        self._client, self._store, self._server, self._run = client, store, server, run
        self._how = {"count": count, "images_per_job": images_per_job, "cloud_storage": cloud_storage}
        self._put: set[str] = set()

    async def look(self, annotator: str) -> tuple[str, list[Rejection]]:
        """Put the open round there, unless this object has, and fetch what is finished.

        Returns what happened, empty where nothing did, and what is no answer.
        """
        try:
            message = await open_round(self._client, self._run)
        except BadInput:
            # Between two rounds.
            return "", []
        lines = list[str]()
        if message.key not in self._put:
            lines.append(await put(self._client, self._store, self._server, self._run, **self._how))
            self._put.add(message.key)
        else:
            await self._renew(message)
        told = await fetch(self._client, self._server, self._run, annotator)
        fresh = {name: count for name, count in told.outcomes.items() if name != "known"}
        lines += [", ".join(outcomes_told(fresh))] if fresh else []
        return "\n".join(lines), told.rejections

    async def _renew(self, message: pb.QuestionRound) -> None:
        """Hold what is held already for another while, and no more."""
        views = [view async for view in self._client.views(message.key)]
        mine = sum(any(one.partition(".")[0] == TOOL for one in view.holders) for view in views)
        if mine:
            await self._client.hold(message.key, TOOL, mine, HOLD_SECONDS)
