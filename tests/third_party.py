"""The example of a selector by somebody else, built as its README says and run as a process, and the bridge to it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from guide import guided
from integration.loop import command, environment

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "selector-plain-python"
VERSION = "plain/1"
GUIDED = "127.0.0.1:50061"
"""Where the guide has it listen."""
_STARTED_SECONDS = 120.0


def build(folder: Path) -> Path:
    """Copy the example and generate its messages there; returns its folder."""
    made = folder / "selector-plain-python"
    shutil.copytree(EXAMPLE, made, ignore=shutil.ignore_patterns("contract", "build", "__pycache__"))
    command = ["make", "-C", str(made), f"PYTHON={sys.executable}", f"PROTOS={ROOT / 'protos'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@contextlib.contextmanager
def running(folder: Path, settings: Mapping[str, str], program: str = "selector.py", *arguments: str) -> Iterator[str]:
    """Run the selector until the block ends; yields its address. It must leave by itself on SIGTERM."""
    with _process(
        [sys.executable, program, *arguments],
        folder,
        # Its own folder and nothing of ours; any free port.
        {**settings, "ADDRESS": "127.0.0.1:0", "PYTHONPATH": str(folder)},
        lambda log: (told := re.search(r"on port (\d+)\n", log.read_text())) and f"127.0.0.1:{told[1]}",
    ) as address:
        yield address


@contextlib.contextmanager
def bridged(folder: Path, settings: Mapping[str, str], address: str, *arguments: str) -> Iterator[str]:
    """Run the bridge to a selector until the block ends; yields the bridge's own address."""
    bridge = guided("tessera bridge", "docs/extending.md")[1:]
    assert GUIDED in bridge
    ready = Path(tempfile.mkdtemp(dir=folder)) / "ready.json"
    with _process(
        command(*(address if word == GUIDED else word for word in bridge), *arguments),
        folder,
        {"TESSERA_FETCH_EXPIRES": "0.5", **settings, "TESSERA_READY_FILE": str(ready)},
        lambda _: str(json.loads(ready.read_text())["address"]) if ready.exists() else None,
    ) as at:
        yield at


@contextlib.contextmanager
def _process(
    words: Sequence[str], folder: Path, settings: Mapping[str, str], find: Callable[[Path], str | None]
) -> Iterator[str]:
    """Run a program from its start, when its address is found, to SIGTERM, on which it must leave by itself."""
    log = Path(tempfile.mkdtemp(dir=folder)) / "output.log"
    with log.open("wb") as file:
        process = subprocess.Popen(words, cwd=folder, env=environment(**settings), stdout=file, stderr=file)
    try:
        until = time.monotonic() + _STARTED_SECONDS
        while not (address := find(log)):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, f"it does not start:\n{log.read_text()}"
            time.sleep(0.05)
        yield address
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
