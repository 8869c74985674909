"""Serve RunsService and QuestionsService, and run the driver; the coordinator has no jobs of its own."""

from __future__ import annotations

import functools
import os
import socket

from services.coordinator import telling
from services.coordinator.archivist import Archivist
from services.coordinator.book import Book
from services.coordinator.driver import Ask, Driver
from services.coordinator.runs import Runs
from services.coordinator.workforce import Workforce
from tessera.loop import growing, people
from tessera.pb import runs_pb2 as pb
from tessera.pb import workers_pb2
from tessera.pb.runs_pb2 import RunStatus
from tessera.runtime import catalogue, metrics
from tessera.runtime.method import Method
from tessera.runtime.notices import Notices
from tessera.runtime.objects import ObjectStore, restrict
from tessera.runtime.people import questions
from tessera.runtime.people.desk import Desk
from tessera.runtime.records import Records
from tessera.runtime.rpc import Endpoint, Stream, Unary
from tessera.runtime.service import Runtime
from tessera.runtime.taking import VersionTaker

METHODS: tuple[Method, ...] = ()
_LOOK_SECONDS = 60.0
_SERVICE = "tessera.v1.RunsService"


async def start(runtime: Runtime) -> list[Endpoint]:
    """Read the log, drive running runs in the background, and return the services' methods."""
    catalogue.check_replaced(runtime.settings.algorithms)
    book = Book(runtime.events)
    # Before the first call is answered, so that runs submitted to an earlier process are known.
    from_sequence = await book.open()
    replaced = runtime.settings.algorithms
    key = functools.partial(catalogue.job_key, replaced=replaced)
    desk = _desk(runtime, book)
    runtime.spawn(desk.run(await desk.load()), "desk")
    own: dict[str, Ask] = dict.fromkeys(people.COLLECTS, desk.open)
    own[growing.STEP] = _taker(runtime).take
    driver = Driver(runtime.events, book, key, look=runtime.settings.look_seconds, replaced=replaced, own=own)
    runtime.spawn(driver.run(from_sequence), "driver")
    after = runtime.settings.archive_seconds
    archivist = Archivist(runtime.events, book, after, min(max(after, 1.0), _LOOK_SECONDS))
    runtime.spawn(archivist.run(), "archivist")
    telling.begin()
    for status in RunStatus.values()[1:]:
        metrics.watch("runs", functools.partial(_count, book, status), status=RunStatus.Name(status)[11:].lower())
    notices = Notices(runtime.messaging, restrict(runtime.store, "coordinator"), runtime.settings)
    runtime.spawn(notices.run(book.pictures), "notices")
    workforce = Workforce(runtime)
    runtime.spawn(workforce.run(), "workforce")
    workers = Unary("tessera.v1.WorkersService/ListWorkers", workers_pb2.ListWorkersRequest, workforce.list)
    runs = Runs(runtime.events, book, restrict(runtime.store, "coordinator"))
    return [*endpoints(runs), *questions.endpoints(questions.QuestionCalls(desk)), workers]


def _desk(runtime: Runtime, book: Book) -> Desk:
    store, records, worker = _recording(runtime)
    return Desk(runtime.messaging, store, records, runtime.events, book, worker)


def _taker(runtime: Runtime) -> VersionTaker:
    store, records, worker = _recording(runtime)
    return VersionTaker(store, records, runtime.events, worker)


def _recording(runtime: Runtime) -> tuple[ObjectStore, Records, str]:
    """Return what the coordinator commits records with, and the name under which it does."""
    store = restrict(runtime.store, "coordinator")
    records = Records.of(runtime.messaging, store, runtime.settings)
    return store, records, f"{socket.gethostname()}:{os.getpid()}"


def _count(book: Book, status: int) -> float:
    return float(sum(entry.status == status for entry in list(book.entries.values())))


def endpoints(runs: Runs) -> list[Endpoint]:
    """Return RunsService's methods."""
    return [
        Unary(f"{_SERVICE}/SubmitRun", pb.SubmitRunRequest, runs.submit),
        Unary(f"{_SERVICE}/GetRun", pb.GetRunRequest, runs.get),
        Unary(f"{_SERVICE}/ListRuns", pb.ListRunsRequest, runs.list),
        Stream(f"{_SERVICE}/WatchRun", pb.WatchRunRequest, runs.watch),
        Unary(f"{_SERVICE}/CancelRun", pb.CancelRunRequest, runs.cancel),
        Unary(f"{_SERVICE}/ResumeRun", pb.ResumeRunRequest, runs.resume),
        Unary(f"{_SERVICE}/RedoJob", pb.RedoJobRequest, runs.redo),
        Unary(f"{_SERVICE}/ListObjects", pb.ListObjectsRequest, runs.objects),
    ]
