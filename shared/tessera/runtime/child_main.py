"""The compute child: ``python -m tessera.runtime.child_main``. It computes; the parent talks.

It reads requests from a socket it inherited, so that whatever user code or a C library prints cannot corrupt the
channel, keeps imported modules and their caches between jobs, and ends when the parent does.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import os
import queue
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from tessera.between_jobs import between_jobs
from tessera.errors import OutOfMemory, TesseraError, Unavailable
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime import child_threads, frames, objects

_PROGRESS_SECONDS = 0.1
_KEEPING_SHARE = 20.0
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "insufficient memory", "out of memory")


class ChildSocket:
    """The child's end of the socket; any thread may send."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.requests: queue.SimpleQueue[tuple[frames.Header, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self._receive, daemon=True).start()

    def send(self, header: frames.Header, payload: bytes = b"") -> None:
        """Send one frame."""
        with self._lock:
            self._connection.sendall(frames.pack(header, payload))

    def _receive(self) -> None:
        while (frame := frames.receive(self._connection)) is not None:
            self.requests.put(frame)
        os._exit(0)  # the parent has ended, and nobody needs the result


class ChildBlobs:
    """The store as a compute function sees it (`Blobs`)."""

    def __init__(
        self,
        channel: ChildSocket,
        job: int,
        inputs: Mapping[str, str],
        folder: Path,
        bucket: str,
        keeping: Mapping[str, Any] | None = None,
    ) -> None:
        self._channel = channel
        self._job = job
        self._inputs = inputs
        self._folder = folder
        self._bucket = bucket
        self._told = 0.0
        self._keep_seconds: float | None = keeping["seconds"] if keeping else None
        self._earlier: str = keeping["earlier"] if keeping else ""
        self._kept = 0
        self._kept_at = time.monotonic()
        self._kept_in = 0.0
        self.written: dict[str, dict[str, Any]] = {}
        self.images_per_second = 0.0

    def read(self, ref: ObjectRef) -> bytes:
        """Return the bytes of one of the job's reads, verified here once more."""
        path = self._inputs.get(ref.sha256)
        if path is None:
            raise LookupError(f"object {ref.key} is not among the reads of this job (a bug in its method)")
        try:
            data = Path(path).read_bytes()
        except FileNotFoundError:
            raise Unavailable(
                f"object {ref.key}: its local copy left the cache before it was read; raise TESSERA_CACHE_BYTES"
            ) from None
        return objects.verify(ref, data)

    def local(self) -> Mapping[str, str]:
        """Return the files of the job's reads by their sha256."""
        return self._inputs

    def write(self, data: bytes, media_type: str) -> ObjectRef:
        """Keep bytes for upload; equal bytes are kept once."""
        digest = objects.sha256(data)
        ref = ObjectRef(
            bucket=self._bucket,
            key=objects.content_key(digest),
            sha256=digest,
            size=len(data),
            media_type=media_type,
        )
        if digest not in self.written:
            path = self._folder / digest
            try:
                path.write_bytes(data)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise Unavailable(f"{path}: no room for {len(data)} bytes of results (TESSERA_SCRATCH_DIR)") from None
            self.written[digest] = {
                "key": ref.key,
                "path": str(path),
                "media_type": media_type,
                "sha256": digest,
                "size": len(data),
            }
        return ref

    def earlier(self) -> bytes | None:
        """Return the last checkpoint of an earlier attempt at this job, or None."""
        if not self._earlier:
            return None
        try:
            return Path(self._earlier).read_bytes()
        except OSError:
            return None  # it was evicted from the cache: start from the beginning

    def due(self) -> bool:
        """Return whether it is time for a checkpoint; they take at most a twentieth of the time, however slow the
        disk."""
        if self._keep_seconds is None:
            return False
        return time.monotonic() - self._kept_at >= max(self._keep_seconds, _KEEPING_SHARE * self._kept_in)

    def keep(self, data: bytes) -> None:
        """Hand the parent a checkpoint; without room on the disk it is dropped, and the computation goes on."""
        began = time.monotonic()
        self._kept += 1
        path = self._folder / f"kept-{self._kept}"
        try:
            path.write_bytes(data)
        except OSError:
            path.unlink(missing_ok=True)
        else:
            self._channel.send({"op": "kept", "job": self._job, "path": str(path)})
        self._kept_at = time.monotonic()
        self._kept_in = self._kept_at - began

    def progress(self, fraction: float, note: str = "") -> None:
        """Report progress in 0..1; at most ten reports per second leave the child."""
        now = time.monotonic()
        if now - self._told >= _PROGRESS_SECONDS or fraction >= 1:
            self._told = now
            clipped = min(max(float(fraction), 0.0), 1.0)
            self._channel.send({"op": "progress", "job": self._job, "fraction": clipped, "note": note[:200]})

    def speed(self, images_per_second: float) -> None:
        """Note how fast a training was, for the job's record."""
        self.images_per_second = images_per_second


def serve(channel: ChildSocket) -> None:
    """Answer requests until the process ends."""
    channel.send({"op": "ready", "pid": os.getpid()})
    while True:
        header, payload = channel.requests.get()
        try:
            reply, body = run(channel, header, payload)
        except Exception as error:
            reply, body = describe(error, header["function"]), b""
            if reply["error"] == OutOfMemory.__name__:
                between_jobs.clear()
        channel.send({"job": header["job"], **reply}, body)


def run(channel: ChildSocket, header: frames.Header, payload: bytes) -> tuple[frames.Header, bytes]:
    """Run one request; returns the reply and the response bytes."""
    # Before the imports, which may load a library that reads the thread count only once.
    child_threads.set_threads(header["threads"])
    function = resolve(header["function"])
    request = resolve(header["request"]).FromString(payload)
    place = (Path(header["folder"]), header["bucket"], header["keeping"])
    blobs = ChildBlobs(channel, header["job"], header["inputs"], *place)
    began, start = time.monotonic(), time.perf_counter()
    response = function(request, blobs)
    seconds = time.perf_counter() - start
    if not isinstance(response, Message):
        raise TypeError(f"returned {type(response).__name__}, not a protobuf message")
    message = response.DESCRIPTOR.full_name
    reply = {"op": "done", "message": message, "seconds": seconds, "written": list(blobs.written.values())}
    reply |= {"images_per_second": blobs.images_per_second, "began": began}
    return reply, response.SerializeToString(deterministic=True)


def resolve(name: str) -> Any:
    """Import ``"package.module:attribute"``."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def describe(error: Exception, function: str) -> frames.Header:
    """Turn an exception into an error reply; its traceback is for the log only."""
    trace = "".join(traceback.format_exception(error))[-8000:]
    if isinstance(error, TesseraError):
        name, message = type(error).__name__, str(error)
    elif is_out_of_memory(error):
        name, message = OutOfMemory.__name__, f"{function}: out of memory: {str(error)[:300]}"
    else:
        name, message = "", f"{function}: {type(error).__name__}: {str(error)[:500]}"
    return {"op": "error", "error": name, "message": message, "traceback": trace}


def is_out_of_memory(error: Exception) -> bool:
    """Return whether Python, numpy, torch or OpenCV report with this error that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    named = type(error).__name__ in ("RuntimeError", "error", "OSError")
    return named and any(words in str(error).lower() for words in _MEMORY_WORDS)


def confine(parent: int, address_bytes: int, nice: int) -> None:
    """Set the limits of this process, and have it end with its parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # If the machine runs out of memory anyway, the kernel ends compute and not the parent or a server.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    if address_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (address_bytes, address_bytes))
    if nice:
        os.nice(nice)


def main() -> None:
    """Serve the socket named on the command line: descriptor, parent's pid, RLIMIT_AS bytes, niceness."""
    descriptor, parent, address_bytes, nice = (int(argument) for argument in sys.argv[1:])
    confine(parent, address_bytes, nice)
    os.set_inheritable(descriptor, False)
    child_threads.install()
    serve(ChildSocket(socket.socket(fileno=descriptor)))


if __name__ == "__main__":
    main()
