"""The compute children of one process: started when needed, reused while warm, replaced when dead."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

from tessera.errors import TesseraError
from tessera.runtime import memory, tracing
from tessera.runtime.child import Call, Child, Keeping, Progress, Reply
from tessera.runtime.gate import Gate, ShuttingDown, Warmth
from tessera.runtime.objects import bucket_of
from tessera.runtime.scratch import Scratch
from tessera.runtime.settings import MIB, Settings

_log = logging.getLogger(__name__)
_Response = TypeVar("_Response", bound=Message)
# Number of affinities that count as warm per child: at least the shards whose backbone maps it can hold (768 MiB: some
# 50 shards of 16 images of CamVid's size, more of smaller ones). A name here costs a line of text; one that outlives
# its maps only makes a child preferred in vain.
_AFFINITIES: Final = 256
_LOOK_SECONDS: Final = 0.1


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
    """Result of a computation. Call ``discard`` when its blobs are stored."""

    response: _Response
    blobs: list[WrittenBlob]
    compute_seconds: float
    folder: Path
    images_per_second: float = 0.0
    """Of a training; 0: not measured."""

    def discard(self) -> None:
        """Remove the blobs' files."""
        shutil.rmtree(self.folder, ignore_errors=True)


class ComputePool:
    """Up to ``size`` compute children (0: one per core); references to written blobs carry ``bucket``."""

    def __init__(self, size: int, settings: Settings, bucket: str | None = None) -> None:
        self._settings = settings
        self._bucket = bucket_of(settings.store) if bucket is None else bucket
        self._cores = settings.core_count()
        self.size = size or settings.children or self._cores
        self._gate = Gate(self._cores, self.size, self._warmth)
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._dead: list[Child] = []
        self._jobs: set[asyncio.Task[object]] = set()
        self._memory = settings.memory_limit()
        self._sizes: dict[int, int] = {}
        self._sizes_at = 0.0
        self._scratch = Scratch(settings.scratch_dir)
        self._closed = False

    @property
    def busy(self) -> int:
        """Number of children that compute."""
        return len(self._busy)

    @property
    def idle(self) -> int:
        """Number of children that wait for a job."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Number of jobs that wait for cores."""
        return self._gate.waiting

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
        keeping: Keeping | None = None,
    ) -> ComputeResult[_Response]:
        """Run ``"package.module:function"`` in a child and return its response and the blobs it wrote.

        ``paths`` maps the sha256 of every input to a verified local file; ``threads`` 0 takes every core alone;
        ``timeout`` counts from when the job has its cores; ``affinity`` names the data that the function keeps in its
        process: a child with these data is preferred, and a job with such a child idle may come earlier
        (``runtime.gate``). Raises what the function raised (an exception that is no TesseraError as TesseraError with
        its type and text), OutOfMemory, ChildCrashed, ChildTimedOut, or ShuttingDown when the process leaves before it
        is the job's turn. Cancelling kills the job's child.
        """
        cores = min(threads or self._cores, self._cores)
        with self._registered():
            async with contextlib.AsyncExitStack() as held:
                with tracing.span("wait for cores", cores=cores):
                    await held.enter_async_context(self._gate.hold(cores, affinity))
                folder = self._scratch.folder()
                try:
                    call = Call(function, request, paths, folder, self._bucket, cores, keeping)
                    # Longer than the compute in it: a child may have to start, and to import libraries.
                    with tracing.span("child", "client", function=function):
                        reply = await self._run(call, timeout, on_progress, affinity)
                        tracing.happened("compute", reply.began, reply.seconds, function=function, pid=reply.pid)
                    if reply.message != response_type.DESCRIPTOR.full_name:
                        # Bytes of another message type might be parsed without an error.
                        raise TesseraError(f"{function}: returned {reply.message}, not {response_type.__name__}")
                    written = [_blob(entry) for entry in reply.written]
                    response = response_type.FromString(reply.response)
                    return ComputeResult(response, written, reply.seconds, folder, reply.images_per_second)
                except BaseException:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise

    def drain(self) -> None:
        """Let running computations go on; jobs that wait for cores get ShuttingDown."""
        self._gate.close()

    async def close(self) -> None:
        """Cancel running computations, end every child (within a few seconds) and remove the scratch folder."""
        self._closed = True
        jobs = [job for job in self._jobs if job is not asyncio.current_task()]
        for job in jobs:
            job.cancel()
        try:
            if jobs:
                await asyncio.wait(jobs, timeout=10)
        finally:
            await asyncio.gather(*(child.close() for child in (*self._idle, *self._busy, *self._dead)))
            self._idle.clear()
            self._scratch.remove()

    @contextlib.contextmanager
    def _registered(self) -> Iterator[None]:
        """Know the task, so that ``close`` can cancel it."""
        if self._closed:
            raise ShuttingDown("compute: this process is shutting down")
        job = asyncio.current_task()
        assert job is not None  # noqa: S101  # a coroutine runs in a task
        self._jobs.add(job)
        try:
            yield
        finally:
            self._jobs.discard(job)

    async def _run(self, call: Call, limit: float, on_progress: Progress | None, affinity: str) -> Reply:
        child = self._take(affinity) or await Child.start(self._settings, self._excess)
        self._busy.add(child)
        child.affinities.pop(affinity, None)
        child.affinities[affinity] = None
        while len(child.affinities) > _AFFINITIES:
            del child.affinities[next(iter(child.affinities))]
        try:
            while self._dead:  # ended while idle: give back what they held
                await self._dead.pop().kill()
            return await child.run(call, limit, on_progress)
        finally:
            self._busy.discard(child)
            if child.alive and not self._closed:
                self._idle.append(child)
            else:
                await child.kill()

    def _excess(self, child: Child) -> str | None:
        """Return why a computing child must end for its memory; None while it may go on.

        Idle children end first: they hold only caches. Then the largest computing one.
        """
        mine, alone = memory.used(child.pid), self._settings.child_memory_bytes
        if alone and mine > alone:
            return f"used {mine // MIB} MiB, more than {alone // MIB} MiB (TESSERA_CHILD_MEMORY_BYTES)"
        # Measured once per interval, however many children ask, because each measurement covers all of them.
        now = time.monotonic()
        if now - self._sizes_at >= _LOOK_SECONDS:
            self._sizes = {each.pid: memory.used(each.pid) for each in (*self._idle, *self._busy)}
            self._sizes_at = now
        # A process that has ended since the last measurement uses no memory.
        together = sum(self._sizes.get(each.pid, 0) for each in (*self._idle, *self._busy))
        if together <= self._memory:
            return None
        idle = [each for each in self._idle if each.alive]
        if idle:
            for each in idle:
                _log.warning("an idle compute child is stopped to free memory", extra={"child": each.pid})
                each.retire()
                self._sizes.pop(each.pid, None)
            return None
        if mine < max(self._sizes.get(each.pid, 0) for each in self._busy):
            return None
        return (
            f"used {mine // MIB} MiB, the most of compute that uses {together // MIB} MiB together, more than "
            f"{self._memory // MIB} MiB; use smaller shards or batches, a larger machine, or set "
            "TESSERA_COMPUTE_MEMORY_BYTES"
        )

    def _warmth(self, affinity: str) -> Warmth:
        if any(affinity in child.affinities for child in self._idle):
            return Warmth.IDLE
        return Warmth.BUSY if any(affinity in child.affinities for child in self._busy) else Warmth.NONE

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
