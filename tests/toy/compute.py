"""Child side of the toy service: each command is one way for a computation to go well or badly."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tessera.errors import BadInput
from tessera.formats.blobs import Blobs
from tessera.pb.scorer_pb2 import ScoreRequest, ScoreResponse


def _run(command: str, argument: str) -> None:
    if command == "sleep":
        time.sleep(float(argument))
    elif command == "until":
        while not Path(argument).exists():
            time.sleep(0.05)
    elif command == "bad":
        raise BadInput(f"toy: {argument}")
    elif command == "bug":
        raise KeyError(argument)
    elif command == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif command == "spin":
        end = time.monotonic() + float(argument)
        while time.monotonic() < end:
            pass
    elif command == "kill_parent":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(5)


def _count(argument: str, blobs: Blobs) -> None:
    """``TOTAL`` steps of 0.1 s, each kept; ``TOTAL,bad`` then fails. Every step leaves a file that names it."""
    total, _, end = argument.partition(",")
    for step in range(int(blobs.earlier() or b"0"), int(total)):
        (Path(os.environ["TOY_RUNS"]) / f"step-{step}-{time.monotonic_ns()}").touch()
        time.sleep(0.1)
        if blobs.due():
            blobs.keep(b"%d" % (step + 1))
    if end:
        raise BadInput("toy: counted to a bad end")


def score(request: ScoreRequest, blobs: Blobs) -> ScoreResponse:
    runs = os.environ.get("TOY_RUNS")
    if runs:
        (Path(runs) / f"{request.seed}-{os.getpid()}-{time.monotonic_ns()}").touch()
    for column in request.columns:
        command, _, argument = column.column.partition(":")
        if command == "count":
            _count(argument, blobs)
        _run(command, argument)
        blobs.progress(0.5, command)
    text = blobs.read(request.manifest) if request.HasField("manifest") else b""
    # Differs from run to run, as results of a GPU may: only one of two runs may become the result.
    noise = str(time.monotonic_ns()).encode() if any(c.column == "noise" for c in request.columns) else b""
    data = b"toy %d " % request.seed + text + noise
    return ScoreResponse(scores=blobs.write(data, "text/plain"), region_count=int(request.seed))
