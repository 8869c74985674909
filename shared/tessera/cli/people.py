"""``tessera people``: questions of a run as files of other tools, and their files as answers."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tessera.errors import BadInput

if TYPE_CHECKING:
    from tessera.adapters.tasks import ToolTask
    from tessera.runtime.objects import ObjectStore

FORMATS: Final = ("label-studio", "cvat")
_CVAT_NEXT: Final = (
    "make a task with the labels of labels.json (tab Raw) and images/, upload annotations.xml (CVAT 1.1); export as "
    "CVAT for images 1.1"
)
_SHOWN: Final = 20
"""Rejections that are named; the others are counted."""


@dataclass(frozen=True)
class RunPlace:
    """Where a run is: the coordinator's address, and the store's if it is known."""

    coordinator: str
    store: str | None

    @staticmethod
    def of(out: Path | None, coordinator: str | None, store: str | None) -> RunPlace:
        """Find the addresses by option, by the folder of a stack, or in the environment."""
        from tessera.cli.remote import address
        from tessera.cli.stack import stack_facts

        facts = stack_facts(out)
        if out is not None and not facts:
            raise BadInput(f"--out {out}: holds no stack; give --coordinator and --store")
        known = facts.get("store") or os.environ.get("TESSERA_STORE")
        return RunPlace(address(facts.get("coordinator") or coordinator), store or known)

    def open(self) -> ObjectStore:
        """Open the store; BadInput where it is not known."""
        from tessera.runtime.objects import open_store
        from tessera.runtime.settings import load

        if not self.store:
            raise BadInput("no store: give --store URL or set TESSERA_STORE, the one that the stack uses")
        return open_store(self.store, load(store=self.store))


@dataclass(frozen=True)
class TaskExport:
    """What is exported, and how."""

    form: str
    count: int
    images: str
    hours: float


def export_tasks(place: RunPlace, run: str, to: Path, wanted: TaskExport) -> list[str]:
    """Write the tasks of the run's open round to a new folder; return what to do with them."""
    from tessera.cli.export import new

    check_form(wanted.form, FORMATS)
    new(to)
    if wanted.form == "cvat":
        return [asyncio.run(_export_cvat(place, run, to, wanted)), _CVAT_NEXT]
    files, lines = asyncio.run(_export(place, run, wanted))
    to.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (to / name).write_text(text, encoding="utf-8")
    return [f"{to}: {lines[0]}", *lines[1:]]


async def _export_cvat(place: RunPlace, run: str, to: Path, wanted: TaskExport) -> str:
    from tessera.runtime.people import cvat_sync
    from tessera.runtime.people.client import QuestionsClient

    if wanted.images not in ("", "upload", "none"):
        raise BadInput(f"--images {wanted.images}: unknown for CVAT's files; write upload (a folder of images) or none")
    async with QuestionsClient(place.coordinator) as client:
        count, seconds, pictures = wanted.count, wanted.hours * 3600, wanted.images != "none"
        return await cvat_sync.export(client, place.open(), run, to, count=count, seconds=seconds, pictures=pictures)


async def _export(place: RunPlace, run: str, wanted: TaskExport) -> tuple[dict[str, str], list[str]]:
    from tessera.adapters.label_studio import config, tasks
    from tessera.runtime.people.client import QuestionsClient, open_round
    from tessera.runtime.people.held_tasks import held_tasks

    store = place.open()
    images = Pictures(store, wanted.images, wanted.hours)
    async with QuestionsClient(place.coordinator) as client:
        message = await open_round(client, run)
        round_, found = await held_tasks(client, message, wanted.form, wanted.count, wanted.hours * 3600, store)
    made = [tasks.to_task(round_, one, await images.address(one)) for one in found]
    files = {
        "labels.xml": config.labelling_config(round_),
        "tasks.json": json.dumps(made, indent=1, ensure_ascii=False),
    }
    return files, [
        f"{len(made)} tasks of round {round_.round}, query {round_.query}; kept for {wanted.hours:g} hours",
        "make a project, paste labels.xml as its labelling interface, import tasks.json; export as JSON",
    ]


class Pictures:
    """How a tool gets the images of tasks."""

    def __init__(self, store: ObjectStore, how: str, hours: float) -> None:
        from tessera.runtime.s3_store import S3Store

        self._store, self._seconds = store, min(hours, 168.0) * 3600
        self._links = store if isinstance(store, S3Store) else None
        self.how = how or ("link" if self._links else "inline")
        if self.how not in ("link", "inline", "upload"):
            raise BadInput(f"--images {how}: unknown; write link, inline or upload")
        if self.how == "link" and self._links is None:
            raise BadInput("--images link: the store is a folder, which has no addresses; write inline or upload")

    async def address(self, task: ToolTask) -> str:
        """Return a signed address of the image, or the image itself as an address; the tool needs no password."""
        if self.how == "link" and self._links is not None:
            return self._links.address(task.image, self._seconds)
        if self.how == "upload":
            raise BadInput("--images upload: only tessera people sync uploads; write link or inline")
        media, data = await self.read(task)
        return f"data:{media};base64,{base64.b64encode(data).decode()}"

    async def read(self, task: ToolTask) -> tuple[str, bytes]:
        """Return media type and bytes of the image."""
        from tessera.formats import images

        data = await self._store.get(task.image)
        return (await asyncio.to_thread(images.probe, data, task.image_id)).media_type, data


def import_answers(
    place: RunPlace, run: str, files: Sequence[Path], form: str, annotators: Sequence[str], finished: bool = False
) -> list[str]:
    """Give the answers in a tool's files to the run's open rounds; return what became of them.

    ``finished``, CVAT alone: everything in the files is an answer, also what is not marked done.
    """
    check_form(form, FORMATS)
    if form == "cvat":
        if len(annotators) > 1:
            raise BadInput("--annotator: CVAT's files say who answered; give one NAME for those that do not")
        return asyncio.run(_import_cvat(place, run, files, "".join(annotators), finished))
    people = _people(annotators)
    return asyncio.run(_import(place, run, [(one.name, one.read_bytes()) for one in files], people))


async def _import_cvat(place: RunPlace, run: str, files: Sequence[Path], annotator: str, finished: bool) -> list[str]:
    from tessera.runtime.people import cvat_sync
    from tessera.runtime.people.client import QuestionsClient

    async with QuestionsClient(place.coordinator) as client:
        told = await cvat_sync.give_files(client, run, files, annotator, finished=finished)
    return told_of(told.outcomes, [f"{one.place}: {one.reason}" for one in told.rejections])


async def _import(
    place: RunPlace, run: str, files: Sequence[tuple[str, bytes]], people: Mapping[int, str]
) -> list[str]:
    from tessera.adapters.label_studio import reading
    from tessera.runtime.people.client import QuestionsClient, open_rounds

    async with QuestionsClient(place.coordinator) as client:
        rounds = await open_rounds(client, run)
        counts, rejected = dict[str, int](), list[str]()
        for name, data in files:
            said, wrong = reading.read(reading.parsed(data, name), rounds.asked, people)
            rejected += [f"{name} {one.place}: {one.reason}" for one in wrong]
            for reply in said:
                try:
                    outcome = await rounds.give(reply)
                except BadInput as error:
                    rejected.append(f"{name} task {reply.facts['task']}: {error}")
                    continue
                counts[outcome] = counts.get(outcome, 0) + 1
    return told_of(counts, rejected)


def told_of(counts: Mapping[str, int], rejected: Sequence[str]) -> list[str]:
    """Return what became of answers, and the first of those that are none with the reason."""
    from tessera.adapters.replies import outcomes_told

    told = ", ".join(outcomes_told(counts)) or "no answers"
    more = [f"and {len(rejected) - _SHOWN} more"] if len(rejected) > _SHOWN else []
    return [told, *(f"not read: {one}" for one in rejected[:_SHOWN]), *more]


def check_form(form: str, known: Sequence[str]) -> None:
    """Raise BadInput for a tool that has no adapter."""
    from tessera.errors import nearest

    if form not in known:
        raise BadInput(f"{form!r}: no such tool; {nearest(form, known)}")


def _people(annotators: Sequence[str]) -> dict[int, str]:
    made = {}
    for one in annotators:
        id_, _, name = one.partition("=")
        if not id_.isdecimal() or not name:
            raise BadInput(f"--annotator {one}: write ID=NAME, 7=ada@example.com")
        made[int(id_)] = name
    return made
