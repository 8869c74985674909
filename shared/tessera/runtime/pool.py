"""The compute children of one process: started when needed, reused while warm, replaced when dead."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

from tessera.errors import TesseraError, Unavailable
from tessera.runtime.child import Call, Child, Progress, Reply
from tessera.runtime.objects import bucket_of
from tessera.runtime.scratch import Scratch
from tessera.runtime.settings import Settings

_Response = TypeVar("_Response", bound=Message)
_AFFINITIES: Final = 32


@dataclass(frozen=True)
class WrittenBlob:
    """A file that the function wrote, to be stored under ``key``."""

    key: str
    path: Path
    media_type: str
    sha256: str
    size: int


@dataclass(frozen=True)
class ComputeResult(Generic[_Response]):
    """What a computation gave. Call ``discard`` when its blobs are stored."""

    response: _Response
    blobs: list[WrittenBlob]
    compute_seconds: float
    folder: Path

    def discard(self) -> None:
        """Remove the blobs' files."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class Gate:
    """Weighted, first come first served: a job that wants every core waits for them, and is not overtaken for ever."""

    cores: int
    places: int
    _waiting: deque[tuple[int, asyncio.Future[None]]] = field(default_factory=deque)

    @contextlib.asynccontextmanager
    async def hold(self, cores: int) -> AsyncIterator[None]:
        """Hold this many cores and one place."""
        await self._acquire(cores)
        try:
            yield
        finally:
            self._release(cores)

    async def _acquire(self, cores: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((cores, turn))
        self._wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release(cores)
            else:
                self._waiting = deque(w for w in self._waiting if w[1] is not turn)
                self._wake()
            raise

    def _release(self, cores: int) -> None:
        self.cores += cores
        self.places += 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self.places and self._waiting[0][0] <= self.cores:
            cores, turn = self._waiting.popleft()
            if not turn.done():
                self.cores -= cores
                self.places -= 1
                turn.set_result(None)


class ComputePool:
    """Up to ``size`` compute children (0: one a core); ``bucket`` is what references to written blobs carry."""

    def __init__(self, size: int, settings: Settings, bucket: str | None = None) -> None:
        self._settings = settings
        self._bucket = bucket_of(settings.store) if bucket is None else bucket
        self._cores = settings.core_count()
        self._gate = Gate(self._cores, size or settings.children or self._cores)
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._dead: list[Child] = []
        self._jobs: set[asyncio.Task[object]] = set()
        self._scratch = Scratch(settings.scratch_dir)
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """Process ids of the children."""
        return [child.pid for child in (*self._idle, *self._busy)]

    async def run(
        self,
        function: str,
        request: Message,
        response_type: type[_Response],
        paths: Mapping[str, Path],
        threads: int = 1,
        timeout: float = 600.0,  # noqa: ASYNC109  # not the caller's patience: the limit of the child
        on_progress: Progress | None = None,
        affinity: str = "",
    ) -> ComputeResult[_Response]:
        """Run ``"package.module:function"`` in a child and return its response and what it wrote.

        ``paths`` maps the sha256 of every input to a verified local file; ``threads`` 0 takes every core alone;
        ``timeout`` counts from when the job has its cores. Raises what the function raised (an exception that is no
        TesseraError as TesseraError with its type and text), OutOfMemory, ChildCrashed, ChildTimedOut. Cancelling
        kills the job's child.
        """
        cores = min(threads or self._cores, self._cores)
        with self._registered():
            async with self._gate.hold(cores):
                folder = self._scratch.folder()
                try:
                    call = Call(function, request, paths, folder, self._bucket, cores)
                    reply = await self._run(call, timeout, on_progress, affinity)
                    if reply.message != response_type.DESCRIPTOR.full_name:
                        # Its bytes might be read as another message without an error.
                        raise TesseraError(f"{function}: returned {reply.message}, not {response_type.__name__}")
                    written = [_blob(entry) for entry in reply.written]
                    return ComputeResult(response_type.FromString(reply.response), written, reply.seconds, folder)
                except BaseException:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise

    async def close(self) -> None:
        """Cancel what runs, end every child (within a few seconds) and remove the scratch folder."""
        self._closed = True
        jobs = [job for job in self._jobs if job is not asyncio.current_task()]
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs, timeout=10)
        await asyncio.gather(*(child.close() for child in (*self._idle, *self._busy, *self._dead)))
        self._idle.clear()
        self._scratch.remove()

    @contextlib.contextmanager
    def _registered(self) -> Iterator[None]:
        """Know the task, so that ``close`` can cancel it."""
        if self._closed:
            raise Unavailable("compute: this process is shutting down")
        job = asyncio.current_task()
        assert job is not None  # noqa: S101  # a coroutine runs in a task
        self._jobs.add(job)
        try:
            yield
        finally:
            self._jobs.discard(job)

    async def _run(self, call: Call, limit: float, on_progress: Progress | None, affinity: str) -> Reply:
        child = self._take(affinity) or await Child.start(self._settings)
        while self._dead:  # ended while idle: give back what they held
            await self._dead.pop().kill()
        self._busy.add(child)
        try:
            return await child.run(call, limit, on_progress)
        finally:
            self._busy.discard(child)
            if child.alive and not self._closed:
                child.affinities.pop(affinity, None)
                child.affinities[affinity] = None
                while len(child.affinities) > _AFFINITIES:
                    del child.affinities[next(iter(child.affinities))]
                self._idle.append(child)
            else:
                await child.kill()

    def _take(self, affinity: str) -> Child | None:
        """Take the idle child that last ran this affinity, else the one used last; None: start one."""
        alive = [child for child in self._idle if child.alive]
        self._dead += [child for child in self._idle if not child.alive]
        warm = [child for child in alive if affinity in child.affinities]
        chosen = (warm or alive)[-1] if alive else None
        self._idle = [child for child in alive if child is not chosen]
        return chosen


def _blob(entry: dict[str, str | int]) -> WrittenBlob:
    return WrittenBlob(
        str(entry["key"]), Path(str(entry["path"])), str(entry["media_type"]), str(entry["sha256"]), int(entry["size"])
    )
