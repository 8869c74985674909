"""Name the methods without a worker, and the service to start for each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tessera.pb.workers_pb2 import MethodWorkers

QUEUES: Final = "queues"
"""Key of the line about queues that do not exist."""


def absences(methods: Iterable[MethodWorkers]) -> dict[str, str]:
    """Return one line per method that has jobs waiting and no worker, by method; one by ``QUEUES`` for lost queues."""
    methods = list(methods)
    gone = [each.method for each in methods if each.queue_missing]
    lines = {}
    if gone:
        what = f"the queue of {gone[0]} is" if len(gone) == 1 else f"the queues of {', '.join(gone)} are"
        lines[QUEUES] = (
            f"{what} gone from NATS: somebody deleted streams or consumers; start the services again, they create them"
        )
    for each in methods:
        jobs = each.waiting_jobs + each.taken_jobs
        if each.absent and jobs and not each.queue_missing:
            wait = "1 job waits" if jobs == 1 else f"{jobs} jobs wait"
            lines[each.method] = (
                f"no worker for {each.method} since {each.unseen_seconds:.0f} s ({wait}): start one with "
                f"tessera service {each.service}; on Kubernetes, see why it is not ready: "
                f"kubectl get pods -l app.kubernetes.io/name={each.service}"
            )
    return lines
