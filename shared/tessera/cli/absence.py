"""Name the methods without a worker, and the service to start for each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tessera.pb.workers_pb2 import MethodWorkers


def absences(methods: Iterable[MethodWorkers]) -> dict[str, str]:
    """Return one line per method that has jobs waiting and no worker, by method."""
    lines = {}
    for each in methods:
        jobs = each.waiting_jobs + each.taken_jobs
        if each.queue_missing:
            lines[each.method] = (
                f"the queue of {each.method} is gone from NATS: somebody deleted its stream or consumer; start the "
                "services again, they create it"
            )
        elif each.absent and jobs:
            wait = "1 job waits" if jobs == 1 else f"{jobs} jobs wait"
            lines[each.method] = (
                f"no worker for {each.method} since {each.unseen_seconds:.0f} s ({wait}): start one with "
                f"tessera service {each.service}"
            )
    return lines
