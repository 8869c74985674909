"""Measure the memory of compute children, and the limit for all of them together.

The limit is on resident memory, watched from the parent. RLIMIT_AS is too blunt: torch and CUDA reserve tens of GiB of
addresses that they never touch. RLIMIT_DATA counts such reservations too (private and writable), and neither sees what
several children use together.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import psutil

SHARE: Final = 0.8
"""Share of the memory that compute gets by default; the rest is for the parent, the page cache and other processes."""
_CGROUP: Final = Path("/sys/fs/cgroup")


def default_limit(cgroup: Path = _CGROUP, own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the bytes that all compute children of a process may use: 80 % of this process's limit.

    That is the machine's memory, or the smallest limit of the control groups that this process is in, if less.
    """
    return int(SHARE * min([psutil.virtual_memory().total, *_group_limits(cgroup, own)]))


def used(pid: int) -> int:
    """Return a process's own resident bytes, without mapped files, whose pages can be dropped and are often shared.

    0 for a process that has ended.
    """
    with contextlib.suppress(psutil.Error):
        facts = psutil.Process(pid).memory_info()
        return max(0, int(facts.rss) - int(getattr(facts, "shared", 0)))
    return 0


def _group_limits(cgroup: Path, own: Path) -> list[int]:
    """Return the limits of this process's control groups, from its own up to the root, of both versions of cgroups."""
    found = []
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers == "":
                root, name = cgroup, "memory.max"
            elif "memory" in controllers.split(","):
                root, name = cgroup / "memory", "memory.limit_in_bytes"
            else:
                continue
            # Inside a container the path may be the host's, and only the root can be read.
            folder = root / group.lstrip("/")
            for each in (folder, *folder.parents):
                with contextlib.suppress(OSError, ValueError):
                    found.append(int((each / name).read_text()))
                if each == root:
                    break
    return found
