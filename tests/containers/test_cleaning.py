"""A session of container tests that is killed leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from containers.engine import chosen
from integration.loop import environment

pytestmark = [pytest.mark.docker, pytest.mark.full, pytest.mark.timeout(900)]

_SESSION = """
import contextlib, json, os, signal, sys, time
from pathlib import Path
from containers.cleaning import LABEL, cleaned
from containers.deployment import Containers, Processes
os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
# A shell starts jobs in the background with SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
containers = sys.argv[1] == "docker"
with cleaned() if containers else contextlib.nullcontext():
    made = (Containers if containers else Processes)(Path(sys.argv[2]))
    made.start("coordinator")
    print(json.dumps(LABEL), flush=True)
    time.sleep(600)
"""


def _words(*arguments: str) -> list[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.split()


def _labelled(label: str) -> set[str]:
    """Containers with this label, their volumes, and networks."""
    chosen = f"--filter=label={label}"
    containers = _words("ps", "--all", "--quiet", chosen)
    mounts = "{{range .Mounts}}{{if .Name}}{{.Name}} {{end}}{{end}}"
    volumes = _words("inspect", "--format", mounts, *containers) if containers else []
    return {*containers, *volumes, *_words("network", "ls", "--quiet", chosen)}


def _here(names: set[str]) -> set[str]:
    every = [["ps", "--all"], ["network", "ls"], ["volume", "ls"]]
    return names & {found for kind in every for found in _words(*kind, "--quiet")}


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_nothing_remains_of_a_session_that_was_ended(tmp_path: Path, end: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _SESSION, chosen().backend, str(tmp_path / "deployment")],
        cwd=Path(__file__).parents[1],
        env=environment(PYTHONPATH=str(Path(__file__).parents[1])),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as session:
        assert session.stdout is not None
        label = json.loads(session.stdout.readline())
        left: Callable[[], object]
        if chosen().backend == "docker":
            made = _labelled(label)
            assert len(made) >= 4, "NATS, S3, the coordinator and their network"
            left = lambda: _here(made)  # noqa: E731
        else:
            started = psutil.Process(session.pid).children(recursive=True)
            assert len(started) >= 3, "NATS, S3 and the coordinator"
            left = lambda: _alive(started)  # noqa: E731
        session.send_signal(end)
    deadline = time.monotonic() + 300
    while left() and time.monotonic() < deadline:
        time.sleep(1)
    assert not left()
