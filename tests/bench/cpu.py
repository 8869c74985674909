"""CPU seconds of a command with everything that it started: ``python cpu.py COMMAND ARGUMENT…`` prints them last."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_BECOME_SUBREAPER = 36  # prctl(2), Linux


def spent(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Run a command to its end in a process of its own, and return user and system seconds of all its tree."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__)), *command],
        env=dict(environment),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def main(command: Sequence[str]) -> int:
    """Run it, and wait for those whose parents have ended, too: the kernel counts whom somebody waited for."""
    ctypes.CDLL(None).prctl(_BECOME_SUBREAPER, 1, 0, 0, 0)
    code = subprocess.call(command, stdout=sys.stderr)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps(used.ru_utime + used.ru_stime))
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
