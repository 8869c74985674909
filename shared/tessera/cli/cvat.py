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
from tessera.adapters.replies import Rejection, ToolReply
from tessera.adapters.tasks import ToolRound, ToolTask
from tessera.errors import BadInput, TesseraError
from tessera.pb import questions_pb2 as pb
from tessera.registry import canonical_json
from tessera.runtime.people.client import GivenRound, QuestionsClient

if TYPE_CHECKING:
    from tessera.runtime.objects import ObjectStore
    from tessera.runtime.people.cvat import CvatServer

TOOL: Final = "cvat"
_AT_ONCE: Final = 8
HOLD_SECONDS: Final = 14 * 86_400.0
"""How long questions are kept for CVAT: people carry files for days."""


async def open_round(client: QuestionsClient, run: str) -> pb.QuestionRound:
    """Return the round of a run that can be answered now; BadInput where there is none."""
    found = [one for one in await client.rounds(run) if one.state == pb.ROUND_STATE_OPEN]
    if not found:
        raise BadInput(f"run {run}: has no open round of questions; see tessera status {run}")
    return found[-1]


async def held(
    client: QuestionsClient, store: ObjectStore, message: pb.QuestionRound, count: int = 0
) -> tuple[ToolRound, list[ToolTask]]:
    """Hold questions of a round for CVAT (0: all that nobody else has) and return them with their predictions."""
    leases = await client.hold(message.key, TOOL, count or int(message.questions), HOLD_SECONDS)
    if not leases.questions:
        raise BadInput(f"round {message.key[:12]}: no question is left for CVAT; others hold or have answered them")
    gate = asyncio.Semaphore(_AT_ONCE)

    async def task(question: pb.PersonQuestion) -> ToolTask:
        if not question.prediction.sha256:
            return ToolTask.of(question)
        async with gate:
            return ToolTask.of(question, await store.get(question.prediction))

    return ToolRound.of(message), list(await asyncio.gather(*(task(one) for one in leases.questions)))


async def export(
    client: QuestionsClient, store: ObjectStore, run: str, to: Path, *, count: int = 0, pictures: bool = True
) -> str:
    """Write the open round of a run to the folder ``to``; return a sentence on it.

    ``annotations.xml`` (CVAT for images 1.1), ``labels.json`` for the box "Raw" of CVAT's label editor, ``images/``
    unless ``pictures`` is off, and for queries about pixels ``masks.zip`` (Segmentation mask 1.1), the predictions.
    """
    round_, tasks = await held(client, store, await open_round(client, run), count)
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


class Told:
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

    def text(self) -> str:
        """Return what happened, a line for each thing that was no answer."""
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(self.outcomes.items()))
        lines = [f"{sum(self.outcomes.values())} answers: {counts or 'none'}; {len(self.rejections)} were no answer"]
        return "\n".join([*lines, *(f"  {one.place}: {one.reason}" for one in self.rejections)])


def _rank(reply: ToolReply) -> str:
    return reply.question_id.rpartition(".")[2]


async def give_files(
    client: QuestionsClient, run: str, paths: Sequence[Path], annotator: str, *, finished: bool = False
) -> Told:
    """Give the answers in files that were exported from CVAT to the open round of a run.

    ``annotator``: who answered where a file does not say. ``finished``: everything in the files is an answer, marked
    done or not. A file that cannot be read is named among the rejections and keeps no other from being read.
    """
    given = GivenRound(client, await open_round(client, run))
    await given.load()
    told, expected = Told(), given.of_tool(TOOL)
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
    count: int = 0,
    images_per_job: int = 10,
    cloud_storage: int = 0,
) -> str:
    """Put the open round of a run on a CVAT server; return a sentence on it. Repeat it where it was cut off."""
    from tessera.runtime.people import cvat_rounds

    round_, tasks = await held(client, store, await open_round(client, run), count)
    with tempfile.TemporaryDirectory(prefix="tessera-cvat-") as folder:
        if not cloud_storage:
            async for name, data in _pictures(store, tasks):
                _write(Path(folder) / name, data)
        place = await asyncio.to_thread(
            cvat_rounds.put,
            server,
            round_,
            tasks,
            lambda asked: [Path(folder) / image_name(one) for one in asked],
            images_per_job=images_per_job,
            cloud_storage=cloud_storage,
        )
    return f"{place.url}: {len(tasks)} questions in {place.jobs} jobs, {place.drawn} of them new"


async def fetch(client: QuestionsClient, server: CvatServer, run: str, annotator: str) -> Told:
    """Give the answers in finished jobs of a CVAT server to the open round of a run, each once."""
    from tessera.runtime.people import cvat_rounds

    given = GivenRound(client, await open_round(client, run))
    await given.load()
    told, tasks = Told(), list(given.tasks.values())
    harvest = await asyncio.to_thread(
        cvat_rounds.fetch, server, given.round, tasks, annotator or TOOL, given.of_tool(TOOL)
    )
    await told.give(given, harvest.replies, harvest.rejections)
    return told
