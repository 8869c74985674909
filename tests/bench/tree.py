"""Run a command and watch the memory of everything it started."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Watched:
    """How a command went: wall seconds, exit code, and the largest proportional set size of its tree, in bytes."""

    seconds: float
    code: int
    peak_bytes: int
    peak_by_process: dict[str, int]


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    for mark in ("child_main", "nats-server", "tessera.cli.host", "cli.main"):
        if any(mark in word for word in words):
            return mark
    return process.name()


def _sizes(root: psutil.Process) -> dict[str, int]:
    """Proportional set size by kind of process: shared pages are counted once over the tree."""
    sizes: dict[str, int] = {}
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            memory = process.memory_full_info()
            size = int(getattr(memory, "pss", memory.uss))
            sizes[_name(process)] = sizes.get(_name(process), 0) + size
    return sizes


def watch(command: Sequence[str], every: float = 0.5) -> Watched:
    """Run ``command`` to its end; its output goes to stderr so that the figures stand alone on stdout."""
    begun = time.monotonic()
    started = subprocess.Popen(command, stdout=sys.__stderr__)
    root = psutil.Process(started.pid)
    peak: dict[str, int] = {}
    while started.poll() is None:
        with contextlib.suppress(psutil.Error):
            sizes = _sizes(root)
            if sum(sizes.values()) > sum(peak.values()):
                peak = sizes
        time.sleep(every)
    return Watched(time.monotonic() - begun, started.returncode, sum(peak.values()), peak)


def main() -> None:
    """``python tests/bench/tree.py COMMAND ARGUMENT…``: run it and print wall time and peak memory."""
    seen = watch(sys.argv[1:])
    parts = ", ".join(f"{name} {size / 2**20:.0f}" for name, size in sorted(seen.peak_by_process.items()))
    print(f"wall {seen.seconds:.1f} s, peak memory {seen.peak_bytes / 2**30:.2f} GiB (MiB: {parts})")
    raise SystemExit(seen.code)


if __name__ == "__main__":
    main()
