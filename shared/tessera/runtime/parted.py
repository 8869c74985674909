"""A computation in several processes of one machine, one for each GPU: the compute child starts the others.

It is the first of them. They read the same inputs, what the others write is dropped, and they end with the first.
Their variables are those of torchrun: RANK and WORLD_SIZE.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.errors import TesseraError
from tessera.formats import keys
from tessera.formats.blobs import Blobs
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime import child_main, objects
from tessera.runtime.child import generated_module
from tessera.runtime.settings import load

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from tessera.training.distributed import Processes

_JOB, _REQUEST, _EARLIER, _MEETING, _READY = "job.json", "request", "earlier", "meeting", "ready-"
_FOLDER = "TESSERA_TRAINING_FOLDER"
_PATIENCE = timedelta(minutes=10)


class FileBlobs:
    """What another process than the first sees of the store: files to read; nothing that it writes is kept."""

    def __init__(self, inputs: dict[str, str], earlier: Path) -> None:
        self._inputs, self._earlier = inputs, earlier

    def read(self, ref: ObjectRef) -> bytes:
        """Return the verified bytes of one of the job's reads."""
        return objects.verify(ref, Path(self._inputs[ref.sha256]).read_bytes())

    def local(self) -> dict[str, str]:
        """Return the files of the job's reads."""
        return self._inputs

    def write(self, data: bytes, media_type: str) -> ObjectRef:
        """Keep nothing."""
        digest = objects.sha256(data)
        return ObjectRef(key=keys.cas(digest), sha256=digest, size=len(data), media_type=media_type)

    def earlier(self) -> bytes | None:
        """Return the checkpoint that the first process goes on from."""
        return self._earlier.read_bytes() if self._earlier.exists() else None

    def due(self) -> bool:
        """The first process keeps checkpoints."""
        return False

    def keep(self, data: bytes) -> None:
        """Keep nothing."""

    def progress(self, fraction: float, note: str = "") -> None:
        """Say nothing."""

    def speed(self, images_per_second: float) -> None:
        """Say nothing."""


def wanted(batch: int, cuda: bool, blobs: Blobs, what: str) -> int:
    """Return how many processes TESSERA_TRAINING_PROCESSES asks for: one at most for each device and row of a batch."""
    import torch

    devices = torch.cuda.device_count() if cuda else 1
    size = load().training_processes or devices
    if size > 1 and batch == 1:
        blobs.progress(0.0, f"{what} trains in one process")
    return max(1, min(size, batch, devices if cuda else size))


@contextlib.contextmanager
def together(function: str, request: Message, blobs: Blobs, size: int, cuda: bool) -> Iterator[Processes]:
    """Yield the ``size`` processes of a job, which end with the block; this one alone where ``size`` is 1.

    The others call ``function`` ("package.module:function") with the request, and come to this very block.
    """
    from tessera.training.distributed import ALONE, Processes

    if (place := os.environ.get(_FOLDER)) is not None:  # this is one of the others, and starts none
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        with _joined(rank, size, Path(place), cuda):
            yield Processes(rank, size)
        return
    if size == 1:
        yield ALONE
        return
    with tempfile.TemporaryDirectory(prefix="tessera-parted-", dir=load().scratch_dir) as made:
        folder = Path(made)
        kind = request.DESCRIPTOR
        name = f"{generated_module(kind.file.name)}:{kind.name}"
        job = {"function": function, "request": name, "inputs": dict(blobs.local())}
        (folder / _JOB).write_text(json.dumps(job))
        (folder / _REQUEST).write_bytes(request.SerializeToString(deterministic=True))
        if (earlier := blobs.earlier()) is not None:
            (folder / _EARLIER).write_bytes(earlier)
        others = [_started(rank, size, folder) for rank in range(1, size)]
        try:
            _await(others, folder)
            with _joined(0, size, folder, cuda):
                yield Processes(0, size)
        finally:
            for one in others:
                one.kill()
                one.wait()


def _await(others: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """Return when all others have loaded what they need: one that ends before would be waited for in the meeting."""
    while not all((folder / f"{_READY}{rank}").exists() for rank in range(1, len(others) + 1)):
        for one in others:
            if one.poll() is not None:
                raise TesseraError(f"process {one.pid} of the training ended with status {one.returncode} at its start")
        time.sleep(0.05)


def _started(rank: int, size: int, folder: Path) -> subprocess.Popen[bytes]:
    import torch

    variables = {"RANK": rank, "WORLD_SIZE": size, "OMP_NUM_THREADS": max(1, torch.get_num_threads() // size)}
    found = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    found[_FOLDER] = str(folder)
    # Not -m: this module would be there twice, under its name and as __main__.
    command = [sys.executable, "-c", "from tessera.runtime.parted import main; main()", str(os.getpid())]
    return subprocess.Popen(command, env=found, stdin=subprocess.DEVNULL)  # noqa: S603 - our own module


@contextlib.contextmanager
def _joined(rank: int, size: int, folder: Path, cuda: bool) -> Iterator[None]:
    """Meet the other processes in a file of the folder; they talk over the loopback, GPUs over NCCL."""
    import torch
    import torch.distributed as dist

    (folder / f"{_READY}{rank}").touch()
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if cuda:
        torch.cuda.set_device(rank)
    meeting = f"file://{folder / _MEETING}"
    dist.init_process_group("nccl" if cuda else "gloo", meeting, _PATIENCE, rank=rank, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def main() -> None:
    """Compute as one of the other processes; ends with the first, whose pid is the argument."""
    child_main.confine(int(sys.argv[1]), 0, 0)
    folder = Path(os.environ[_FOLDER])
    job = json.loads((folder / _JOB).read_text())
    request = child_main.resolve(job["request"]).FromString((folder / _REQUEST).read_bytes())
    child_main.resolve(job["function"])(request, FileBlobs(job["inputs"], folder / _EARLIER))
