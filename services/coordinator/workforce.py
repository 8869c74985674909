"""WorkersService: the workers of each method, so that clients can report a method without workers."""

from __future__ import annotations

import asyncio
import contextlib

from tessera.errors import TesseraError
from tessera.pb import workers_pb2 as pb
from tessera.runtime import catalogue, metrics, topology
from tessera.runtime.filling import Filling
from tessera.runtime.presence import Watch
from tessera.runtime.service import Runtime


class Workforce:
    """Observes the queue of every method that an installed service has."""

    def __init__(self, runtime: Runtime) -> None:
        self._messaging, self._settings = runtime.messaging, runtime.settings
        self._store = runtime.store
        self._methods = catalogue.methods()
        verbs = [method.verb for _, method in self._methods.values()]
        self._watch = Watch(runtime.messaging, verbs, runtime.settings.ack_wait)

    async def run(self) -> None:
        """Watch, for ever."""
        for _, method in self._methods.values():
            # Made here, because a service that was never started has no queue in which its waiting jobs could be
            # counted.
            with contextlib.suppress(TesseraError):
                await self._messaging.ensure_consumer(topology.worker_consumer(method.verb, self._settings))
        if metrics.on():
            methods = [method for _, method in self._methods.values()]
            filling = Filling(self._messaging, self._store, self._settings, methods, self._watch)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._watch.run())
                both.create_task(filling.run())
        await self._watch.run()

    async def list(self, request: pb.ListWorkersRequest) -> pb.ListWorkersResponse:
        """Return the last observation of every method, by name."""
        response = pb.ListWorkersResponse()
        for name, (service, method) in sorted(self._methods.items()):
            found = self._watch.presence(method.verb)
            if found is None:
                continue
            queue = found.queue
            response.methods.add(
                method=name,
                service=service,
                waiting_requests=queue.requests if queue else 0,
                waiting_jobs=queue.waiting if queue else 0,
                taken_jobs=queue.taken if queue else 0,
                unseen_seconds=found.unseen_seconds,
                absent=found.absent,
                queue_missing=queue is None,
            )
        return response
