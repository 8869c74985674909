"""Compute functions for tests, well and badly behaved; they run in the compute child."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
import warnings

from tessera.errors import BadInput, Unavailable
from tessera.formats.blobs import Blobs
from tessera.lru import CountLimitedLRU
from tessera.pb.common_pb2 import ImageRange, ObjectRef


def echo(request: ImageRange, blobs: Blobs) -> ImageRange:
    return request


def upper(request: ObjectRef, blobs: Blobs) -> ObjectRef:
    blobs.progress(0.5, "half")
    return blobs.write(blobs.read(request).upper(), "text/plain")


def write_twice(request: ImageRange, blobs: Blobs) -> ObjectRef:
    blobs.write(b"same", "text/plain")
    blobs.write(b"other", "text/plain")
    return blobs.write(b"same", "text/plain")


def pid(request: ImageRange, blobs: Blobs) -> ImageRange:
    return ImageRange(split=request.split, start=os.getpid())


def noise(request: ImageRange, blobs: Blobs) -> ImageRange:
    print("x" * 200_000)
    sys.stderr.write("\0\1\2 not a frame \n" * 10_000)
    os.write(1, b"\xff" * 100_000)
    warnings.warn("careful", stacklevel=1)
    return request


def sleep(request: ImageRange, blobs: Blobs) -> ImageRange:
    time.sleep(request.start / 1000)
    return request


def spin(request: ImageRange, blobs: Blobs) -> ImageRange:
    while True:
        pass


def segfault(request: ImageRange, blobs: Blobs) -> ImageRange:
    print("about to dereference nothing", flush=True)
    ctypes.string_at(0)
    return request


def kill(request: ImageRange, blobs: Blobs) -> ImageRange:
    os.kill(os.getpid(), signal.SIGKILL)
    return request


def abort(request: ImageRange, blobs: Blobs) -> ImageRange:
    os.abort()


def leave(request: ImageRange, blobs: Blobs) -> ImageRange:
    os._exit(request.start)


def system_exit(request: ImageRange, blobs: Blobs) -> ImageRange:
    raise SystemExit(1)


def allocate(request: ImageRange, blobs: Blobs) -> ImageRange:
    """Touch ``start`` MiB and hold them."""
    held = [bytearray(os.urandom(1 << 20)) for _ in range(request.start)]
    time.sleep(30)
    return ImageRange(start=len(held))


def hold(request: ImageRange, blobs: Blobs) -> ImageRange:
    """Touch ``start`` MiB, hold them for some seconds and end well."""
    held = bytearray(os.urandom(request.start << 20))
    time.sleep(6)
    return ImageRange(start=len(held) >> 20)


def allocate_at_once(request: ImageRange, blobs: Blobs) -> ImageRange:
    return ImageRange(start=len(bytearray(request.start << 20)) >> 20)


def bad_input(request: ImageRange, blobs: Blobs) -> ImageRange:
    raise BadInput("classes: 300 is more than 255; use fewer")


def unavailable(request: ImageRange, blobs: Blobs) -> ImageRange:
    raise Unavailable("store: gone")


def bug(request: ImageRange, blobs: Blobs) -> ImageRange:
    return {}["missing"]  # type: ignore[no-any-return, index]


def wrong_type(request: ImageRange, blobs: Blobs) -> ImageRange:
    return 3  # type: ignore[return-value]


def threads(request: ImageRange, blobs: Blobs) -> ImageRange:
    """Thread counts of torch, imported only now, and the environment's."""
    import torch

    return ImageRange(start=torch.get_num_threads(), end=int(os.environ["OMP_NUM_THREADS"]))


def environment(request: ImageRange, blobs: Blobs) -> ImageRange:
    return ImageRange(split="\n".join(f"{k}={v}" for k, v in sorted(os.environ.items())))


def limits(request: ImageRange, blobs: Blobs) -> ImageRange:
    import resource

    core = resource.getrlimit(resource.RLIMIT_CORE)[0]
    return ImageRange(split=f"core={core} nice={os.nice(0)} torch={'torch' in sys.modules}")


def grandchild(request: ImageRange, blobs: Blobs) -> ImageRange:
    """Start a process of its own, tell its id, and hang."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    blobs.progress(1.0, str(child.pid))
    time.sleep(600)
    return request


def babble(request: ImageRange, blobs: Blobs) -> ImageRange:
    """Write bytes into the channel that are no frame."""
    import struct

    text = (b"{{{{", b"[1]", b"{}")[request.start]
    os.write(int(sys.argv[1]), struct.pack(">II", len(text), 0) + text)
    time.sleep(10)
    return request


def remember(request: ImageRange, blobs: Blobs) -> ImageRange:
    """How many values are kept, and one more from now on; a start of 1 runs out of memory first."""
    if request.start:
        raise MemoryError
    from tessera.between_jobs import between_jobs

    if not _remembered:
        _remembered.append(between_jobs.keep("a test's values", CountLimitedLRU[int, int](9)))
    held = _remembered[0]
    count = len(held)
    held.put(count, count)
    return ImageRange(end=count)


_remembered: list[CountLimitedLRU[int, int]] = []


def imported(request: ImageRange, blobs: Blobs) -> ImageRange:
    import sys

    return ImageRange(split="yes" if request.split in sys.modules else "no")
