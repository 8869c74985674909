"""The parent's handle on one compute child: sends a call, watches it, names its failure."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.message import Message

import tessera.errors
from tessera.errors import ChildCrashed, ChildTimedOut, OutOfMemory, TesseraError
from tessera.runtime import frames
from tessera.runtime.redaction import has_secret
from tessera.runtime.settings import Settings

Progress = Callable[[float, str], None]
Excess = Callable[["Child"], str | None]

_log = logging.getLogger(__name__)
_TAIL_BYTES: Final = 8192
_WATCH_SECONDS: Final = 0.2
_END_SECONDS: Final = 5.0
_CANCELLED_SECONDS: Final = 0.5
_SECRET_WORDS: Final = ("SECRET", "PASSWORD", "TOKEN", "ACCESS_KEY", "CREDENTIAL")


@dataclass(frozen=True)
class Keeping:
    """How a computation keeps checkpoints: seconds between two, an earlier one's file, a function that takes a new
    one."""

    seconds: float
    earlier: Path | None
    taken: Callable[[Path], None]


@dataclass(frozen=True)
class Call:
    """One computation."""

    function: str
    request: Message
    inputs: Mapping[str, Path]
    folder: Path
    bucket: str
    threads: int
    keeping: Keeping | None = None


@dataclass(frozen=True)
class Reply:
    """The child's answer: serialized response and its message type, written files, seconds in the function.

    ``images_per_second``: what `Blobs.speed` was told; 0 without. ``began``: ``time.monotonic``, which all processes of
    a machine share, when the function began. ``pid``: the child's process id.
    """

    response: bytes
    message: str
    written: list[dict[str, str | int]]
    seconds: float
    images_per_second: float = 0.0
    began: float = 0.0
    pid: int = 0


# Settings that suit large tensors, unless the user's environment says otherwise: docs/results/meal_camvid.md.
_DEFAULTS: Final = {
    # glibc returns a large block to the system when it is freed, and the next tensor pays for fresh pages again: an
    # eighth of a forward pass. Blocks up to its greatest limit (32 MiB) come from the heap, which keeps 256 MiB spare.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    # Threads that spin long at a barrier slow a busy machine down by a factor; threads that sleep at once cost a tenth
    # of a training step on an idle one. Some 20 µs of spinning avoid both.
    "GOMP_SPINCOUNT": "1000",
}


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a compute child: no credentials, fixed hashing, thread pools of the job's size."""
    kept = {
        k: v for k, v in os.environ.items() if not (any(word in k.upper() for word in _SECRET_WORDS) or has_secret(v))
    }
    fixed = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": str(settings.core_count())}
    for name, value in _DEFAULTS.items():
        kept.setdefault(name, value)
    return {**kept, **fixed, "NUMBA_CACHE_DIR": str(settings.cache_dir / "numba")}


def generated_module(proto: str) -> str:
    """Return the module generated from a proto file; ours live in ``tessera.pb``, whatever their classes say."""
    return proto.replace("tessera/v1/", "tessera/pb/").removesuffix(".proto").replace("/", ".") + "_pb2"


class Child:
    """A running compute child; one call at a time. Whoever starts it ends it with ``kill`` or ``close``."""

    def __init__(self, settings: Settings, excess: Excess = lambda _: None) -> None:
        self._settings = settings
        self._excess = excess
        self._jobs = 0
        self._verdict: TesseraError | None = None
        self._tail = bytearray()
        self._stderr = -1
        self._process: subprocess.Popen[bytes]
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self.affinities: dict[str, None] = {}
        """Affinities of its last jobs, newest last: its caches are warm for these."""

    @classmethod
    async def start(cls, settings: Settings, excess: Excess = lambda _: None) -> Child:
        """Start a child; if it does not come up, its first call raises ChildCrashed.

        ``excess`` is called several times per second while the child computes; if it returns a text, the child ends.
        """
        child = cls(settings, excess)
        ours = child._spawn()
        try:
            child._reader, child._writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            os.close(child._stderr)
            child._signal_group()
            child._process.wait()  # killed: a moment
            raise
        asyncio.get_running_loop().add_reader(child._stderr, child._drain)
        return child

    def _spawn(self) -> socket.socket:
        """Start the process and return our end of its channel."""
        self._stderr, write = os.pipe()
        try:
            ours, theirs = socket.socketpair()
        except BaseException:
            os.close(self._stderr)
            os.close(write)
            raise
        os.set_blocking(self._stderr, False)
        limits = (self._settings.child_address_bytes, self._settings.child_nice)
        arguments = (theirs.fileno(), os.getpid(), *limits)
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [sys.executable, "-m", "tessera.runtime.child_main", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=write,
                stderr=write,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=environment(self._settings),
            )
        except BaseException:
            ours.close()
            os.close(self._stderr)
            raise
        finally:
            theirs.close()
            os.close(write)
        return ours

    @property
    def pid(self) -> int:
        """Return its process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Return whether it can take another call."""
        return self._verdict is None and self._process.poll() is None

    async def run(self, call: Call, limit: float, on_progress: Progress | None = None) -> Reply:
        """Run the call; raises what the function raised, or OutOfMemory, ChildCrashed, ChildTimedOut.

        After the last three, and after a cancellation, the child is dead. Cancelling kills it at once.
        """
        watch = asyncio.create_task(self._watch_memory(call.function))
        try:
            async with asyncio.timeout(limit):
                await self._send(call)
                return await self._receive(call, on_progress)
        except TimeoutError:
            self._verdict = ChildTimedOut(f"{call.function}: stopped after its limit of {limit:g} s")
            await self.kill()
            raise self._verdict from None
        except (asyncio.IncompleteReadError, ConnectionError, ValueError, KeyError):
            # It has ended or answers nonsense: nothing it says after that can be trusted.
            raise await self._post_mortem(call.function) from None
        except asyncio.CancelledError:
            await self.kill()
            raise
        finally:
            watch.cancel()

    def retire(self) -> None:
        """End an idle child at once; whoever takes it next finds it dead."""
        self._verdict = self._verdict or ChildCrashed("the compute child was stopped while idle, to free memory")
        self._signal_group()

    async def kill(self) -> None:
        """End the child and everything it started, now."""
        self._verdict = self._verdict or ChildCrashed("the compute child was stopped")
        self._signal_group()
        await self._reap()

    async def close(self) -> None:
        """Ask the child to end by closing its channel, and kill it if it does not within a second."""
        self._verdict = self._verdict or ChildCrashed("the compute child was closed")
        self._writer.close()
        try:
            for _ in range(50):
                if self._process.poll() is not None:
                    break
                await asyncio.sleep(0.02)
        finally:
            await self.kill()

    async def _send(self, call: Call) -> None:
        self._jobs += 1
        kind = call.request.DESCRIPTOR
        header = {
            "job": self._jobs,
            "function": call.function,
            "request": f"{generated_module(kind.file.name)}:{kind.name}",
            "inputs": {digest: str(path) for digest, path in call.inputs.items()},
            "folder": str(call.folder),
            "bucket": call.bucket,
            "threads": call.threads,
            "keeping": call.keeping and {"seconds": call.keeping.seconds, "earlier": str(call.keeping.earlier or "")},
        }
        self._writer.write(frames.pack(header, call.request.SerializeToString()))
        await self._writer.drain()

    async def _receive(self, call: Call, on_progress: Progress | None) -> Reply:
        while True:
            header, payload = await frames.read(self._reader)
            match header["op"]:
                case "progress" if on_progress is not None and header["job"] == self._jobs:
                    on_progress(header["fraction"], header["note"])
                case "kept" if call.keeping is not None and header["job"] == self._jobs:
                    path = Path(header["path"])
                    if path.parent == call.folder:
                        call.keeping.taken(path)
                case "done":
                    parts = (header["message"], header["written"], header["seconds"], header["images_per_second"])
                    return Reply(payload, *parts, header["began"], self.pid)
                case "error":
                    raise self._error(header, call.function)

    def _error(self, header: frames.Header, function: str) -> TesseraError:
        kind = getattr(tessera.errors, header["error"], None) if header["error"] else None
        if kind is None or kind is OutOfMemory:
            _log.error("compute failed", extra={"function": function, "traceback": header["traceback"]})
        error: TesseraError = (kind or TesseraError)(header["message"])
        if kind is OutOfMemory:
            self._verdict = error  # its memory is fragmented; the pool starts a fresh one
        return error

    async def _post_mortem(self, function: str) -> TesseraError:
        for _ in range(100):
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.02)
        await asyncio.sleep(0)
        self._drain()
        status = self._process.poll()
        if self._verdict is None:
            self._verdict = self._diagnose(function, status)
            said = {"function": function, "status": status, "output": self._text()}
            _log.error("compute child ended", extra=said)
        await self.kill()
        return self._verdict

    def _diagnose(self, function: str, status: int | None) -> TesseraError:
        if status in (-signal.SIGKILL, 128 + signal.SIGKILL):
            return OutOfMemory(f"{function}: the compute child was killed, most likely by the kernel for its memory")
        if status is None:
            how = "closed its channel"
        elif status < 0:
            how = f"crashed with {signal.Signals(-status).name}"
        else:
            how = f"exited with status {status}"
        last = self._last_words()
        return ChildCrashed(f"{function}: the compute child {how}" + (f" ({last})" if last else ""))

    async def _watch_memory(self, function: str) -> None:
        while True:
            reason = self._excess(self)
            if reason is not None:
                self._verdict = OutOfMemory(f"{function}: {reason}")
                self._signal_group()
                return
            await asyncio.sleep(_WATCH_SECONDS)

    def _signal_group(self) -> None:
        # Only before it is reaped: afterwards its process id may belong to another process.
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def _reap(self) -> None:
        end = asyncio.get_running_loop().time() + _END_SECONDS
        try:
            while self._process.poll() is None and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110  # no event exists
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_CANCELLED_SECONDS)  # it was killed: a moment
            raise
        finally:  # also when it is cancelled: nobody comes back to close them
            self._close_stderr()
            self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def _drain(self) -> None:
        """Keep the end of what the child printed."""
        if self._stderr < 0:
            return
        try:
            data = os.read(self._stderr, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            self._close_stderr()
        self._tail += data
        del self._tail[:-_TAIL_BYTES]

    def _close_stderr(self) -> None:
        if self._stderr >= 0:
            asyncio.get_running_loop().remove_reader(self._stderr)
            os.close(self._stderr)
            self._stderr = -1

    def _text(self) -> str:
        return self._tail.decode(errors="replace")

    def _last_words(self) -> str:
        """Return the last line that is no stack line, without control characters."""
        lines = [
            line for line in self._text().splitlines() if line and not line.startswith((" ", "File ", "Traceback"))
        ]
        return "".join(c for c in lines[-1][:200] if c.isprintable()) if lines else ""
