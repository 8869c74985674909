"""The example of a selector by somebody else, built as its README says and run as a process."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from integration.loop import environment

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "selector-plain-python"
VERSION = "plain/1"
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
    log = Path(tempfile.mkdtemp(dir=folder)) / "output.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, program, *arguments],
            cwd=folder,
            # Its own folder and nothing of ours; any free port.
            env={**environment(**settings), "ADDRESS": "127.0.0.1:0", "PYTHONPATH": str(folder)},
            stdout=file,
            stderr=file,
        )
    try:
        until = time.monotonic() + _STARTED_SECONDS
        while not (told := re.search(r"on port (\d+)\n", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, f"the example does not start:\n{log.read_text()}"
            time.sleep(0.05)
        yield f"127.0.0.1:{told[1]}"
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
