"""A process that serves: connects, checks the topology, opens both doors, and leaves in order on SIGTERM."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from tessera.errors import BadInput, TesseraError, Unavailable
from tessera.runtime import (
    activity,
    kernels,
    lifeline,
    messaging,
    metrics,
    permissions,
    rpc,
    scratch,
    settings,
    sweep,
    telemetry,
    topology,
    tracing,
)
from tessera.runtime.events import EventLog
from tessera.runtime.execution import Ask, Execution
from tessera.runtime.messaging import Messaging
from tessera.runtime.method import Method
from tessera.runtime.objects import ObjectStore, open_store, restrict
from tessera.runtime.pool import ComputePool
from tessera.runtime.preparing import prepare
from tessera.runtime.records import Records
from tessera.runtime.redaction import shown
from tessera.runtime.settings import Settings
from tessera.runtime.worker import StopSignals, Worker

_log = logging.getLogger(__name__)
_KILL_SECONDS: Final = 10.0
_RPC_GRACE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.25
_TOPOLOGY_SECONDS: Final = 10.0
Serve = Callable[[Sequence[str], Settings], Coroutine[Any, Any, None]]


@dataclass
class Runtime:
    """State that the services of one process share; a handler module's hook ``start(runtime)`` receives it."""

    settings: Settings
    messaging: Messaging
    events: EventLog
    store: ObjectStore
    pool: ComputePool
    execution: Execution
    stop: StopSignals
    measured: metrics.Exposition | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run in the background until the process leaves; the process ends when it fails."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        return task

    @property
    def tasks(self) -> frozenset[asyncio.Task[None]]:
        """The background tasks."""
        return frozenset(self._tasks)


def main(*names: str, run: Serve | None = None) -> None:
    """Serve the named services in this process until SIGTERM or SIGINT; exits with the error's code.

    ``run`` serves them in another way than `serve`.
    """
    service = _called(names)
    try:
        chosen = settings.load()
    except TesseraError as error:
        sys.stderr.write(f"error: {shown(str(error))}\n")
        sys.exit(error.exit_code)
    telemetry.configure(service, chosen)
    try:
        tracing.configure(service, chosen)
        asyncio.run((run or serve)(names, chosen))
    except TesseraError as error:
        _log.error("cannot serve", extra={"services": list(names), "error": str(error), "reason": error.reason})
        sys.exit(error.exit_code)
    except Exception:
        _log.exception("the service failed", extra={"services": list(names)})
        sys.exit(TesseraError.exit_code)
    finally:
        tracing.shutdown()


async def serve(
    names: Sequence[str],
    chosen: Settings,
    *,
    load: Callable[[str], ModuleType] | None = None,
    on_ready: Callable[[str], None] | None = None,
    signals: bool = True,
    ask: Ask | None = None,
) -> None:
    """Serve until a signal (or cancellation) says stop.

    ``services.<name>.handler`` exports ``METHODS``, and optionally ``async def start(runtime)``, which returns rpc
    endpoints of its own (background work: ``runtime.spawn``), ``async def background(runtime)``, and ``LIBRARIES``: the
    modules that its jobs import, which ``Settings.prepare`` loads beforehand. ``load`` finds the module in another way;
    ``on_ready(address)`` is called with the gRPC address when everything answers; ``ask`` computes in place of the
    methods (``Execution``).
    """
    modules = {name: (load or _handler)(name) for name in names}
    owners = {id(method): name for name, module in modules.items() for method in _methods(module)}
    methods = [method for module in modules.values() for method in _methods(module)]
    _check(methods)
    connection = await messaging.connect(chosen.nats_url, name="+".join(names), settings=chosen)
    pool = measured = None
    try:
        measured = metrics.expose(_called(names), chosen)
        verbs = [method.verb for method in methods]
        await topology.ensure(connection, chosen, verbs, create=not permissions.has_own_user(chosen))
        store = open_store(chosen.store, chosen)
        await asyncio.to_thread(scratch.sweep, chosen.scratch_dir)
        await asyncio.to_thread(kernels.provide, chosen)
        pool = ComputePool(0, chosen)
        views = {name: restrict(store, name) for name in names}
        records = Records.of(connection, store, chosen)
        worker = f"{socket.gethostname()}:{os.getpid()}"
        execution = Execution(
            records, pool, lambda method: views[owners[id(method)]], worker, chosen.checkpoint_seconds, ask
        )
        stop = StopSignals(asyncio.Event(), asyncio.Event())
        events = EventLog(connection, store, chosen.message_bytes)
        runtime = Runtime(chosen, connection, events, store, pool, execution, stop, measured)
        _measure(runtime)
        if signals:
            _on_signals(stop)
        lifeline.hold(lambda: os.kill(os.getpid(), signal.SIGTERM))
        await _serve(runtime, modules, methods, on_ready)
    finally:
        if measured is not None:
            measured.close()
        if pool is not None:
            await pool.close()
        await connection.close()


def _measure(runtime: Runtime) -> None:
    """Have the metrics show what this process holds, at each scrape."""
    pool, connection = runtime.pool, runtime.messaging
    metrics.watch("nats_connected", lambda: float(connection.connected))
    metrics.watch("compute_children", lambda: float(pool.busy), state="busy")
    metrics.watch("compute_children", lambda: float(pool.idle), state="idle")
    metrics.watch("jobs_waiting_for_cores", lambda: float(pool.waiting))


async def _serve(
    runtime: Runtime, modules: dict[str, ModuleType], methods: list[Method], on_ready: Callable[[str], None] | None
) -> None:
    endpoints: list[rpc.Endpoint] = [_door(method, runtime.execution) for method in methods]
    for name, module in modules.items():
        if hasattr(module, "start"):
            endpoints.extend(await module.start(runtime) or ())
        if hasattr(module, "background"):
            runtime.spawn(module.background(runtime), name)
    settled = permissions.settles(
        [method.verb for method in methods], runtime.settings, coordinates="coordinator" in modules
    )
    if settled is not None:
        runtime.spawn(
            sweep.settle(
                runtime.messaging, runtime.execution.records, runtime.settings, runtime.stop.draining, settled
            ),
            "poison",
        )
    if runtime.settings.prepare:
        # A job that takes every core runs in one child alone.
        children = runtime.pool.size if any(method.threads for method in methods) else 1
        await prepare(runtime.pool, [name for module in modules.values() for name in _libraries(module)], children)
    workers = [
        asyncio.create_task(
            Worker(
                method,
                runtime.messaging,
                runtime.execution,
                runtime.settings,
                runtime.stop,
                slots(method, runtime.settings),
            ).run(),
            name=method.name,
        )
        for method in methods
    ]
    server = rpc.Server(endpoints, runtime.settings)
    try:
        address = await server.start()
        at = {"metrics": runtime.measured.address} if runtime.measured is not None else {}
        _log.info("serving", extra={"services": list(modules), "address": address, **at})
        _announce({"address": address, "services": list(modules), "pid": os.getpid(), **at})
        if on_ready is not None:
            on_ready(address)
        runtime.spawn(_watch_health(runtime, server, [method.verb for method in methods]), "health")
        if runtime.settings.idle_seconds:
            leaving = activity.leave_when_idle(
                runtime.execution.activity, runtime.stop.draining, runtime.settings.idle_seconds
            )
            runtime.spawn(leaving, "idle")
        await _until_told(runtime, workers)
        await server.drain()
    finally:
        await _leave(runtime, workers, server)


async def _until_told(runtime: Runtime, workers: list[asyncio.Task[None]]) -> None:
    """Wait for the stop flag; raise the error of background work that fails before."""
    told = asyncio.create_task(runtime.stop.draining.wait())
    try:
        while not told.done():
            running = [task for task in (*workers, *runtime.tasks) if not task.done()]
            _raise_failure((*workers, *runtime.tasks))
            await asyncio.wait([told, *running], return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()


async def _leave(runtime: Runtime, workers: list[asyncio.Task[None]], server: rpc.Server) -> None:
    """Stop fetching, let computing jobs end within the grace time, give the others back, answer calls, then stop."""
    runtime.stop.draining.set()
    runtime.pool.drain()
    if workers:
        leaving: asyncio.Future[Any] = asyncio.create_task(runtime.stop.now.wait())
        everyone: asyncio.Future[Any] = asyncio.gather(*workers, return_exceptions=True)
        await asyncio.wait(
            [everyone, leaving], timeout=runtime.settings.drain_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        leaving.cancel()
        runtime.stop.now.set()
        await asyncio.wait([everyone], timeout=_KILL_SECONDS)
    await server.stop(_RPC_GRACE_SECONDS)
    await _cancel([*workers, *runtime.tasks])
    _log.info("left")


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    """End tasks; more than once, because the NATS client swallows a cancellation that meets it while it writes."""
    for _ in range(3):
        running = [task for task in tasks if not task.done()]
        if not running:
            return
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=1.0)


async def _watch_health(runtime: Runtime, server: rpc.Server, verbs: list[str]) -> None:
    """Report NOT_SERVING while NATS is away or a stream of ours is not there.

    Unavailable once the connection can never come back: the supervisor restarts the process. A deleted stream is not
    created here: its messages are lost, and an operator should see that before runs go on.
    """
    reported, suspicion, intact, next_look = True, 0, True, 0.0
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        connected = runtime.messaging.connected
        if connected and time.monotonic() >= next_look:
            intact = await _is_intact(runtime, verbs)
            next_look = time.monotonic() + min(_TOPOLOGY_SECONDS, runtime.settings.sweep_seconds)
        if (connected and intact) != reported:
            reported = connected and intact
            await server.report(serving=reported)
        reason = runtime.messaging.ended
        # Checked twice: between two tries to connect, the connection looks ended for a moment.
        suspicion = suspicion + 1 if reason else 0
        if suspicion > 1:
            runtime.stop.now.set()  # no result of running jobs could be published
            raise Unavailable(f"the connection to NATS has ended for good: {reason}; start this service again")


async def _is_intact(runtime: Runtime, verbs: list[str]) -> bool:
    """Return whether every stream, bucket and consumer of this process exists; True while NATS does not answer."""
    try:
        found = await topology.faults(runtime.messaging, runtime.settings, verbs)
    except TesseraError:
        return True
    missing = [fault for fault in found if fault.endswith(topology.MISSING)]
    if missing:
        _log.error(
            "parts of the topology were deleted; start the services again to make them, their content is lost",
            extra={"faults": "; ".join(missing)},
        )
    return not missing


def _door(method: Method, execution: Execution) -> rpc.Unary:
    """Open the gRPC door of a method: the response's bytes are the record's, as on JetStream."""

    async def perform(request: Any) -> bytes:
        with execution.activity.busy():
            return (await execution.perform(method, request)).response

    return rpc.Unary(f"{method.service}/{method.name}", method.request, perform)


def slots(method: Method, chosen: Settings) -> int:
    """Return the number of jobs of a method that a process takes at once: twice as many as can compute at once.

    While one half computes, the other half has its inputs fetched and waits for cores. So no child idles while a result
    is stored and acknowledged, and a warm child has jobs to choose from. A waiting job costs files on the disk and
    heartbeats. Jobs that take every core come one by one: they are long and few, and another process could run the one
    that waits.
    """
    cores = chosen.core_count()
    children = chosen.children or cores
    return 2 * max(1, min(children, cores // method.threads)) if method.threads else 1


def _handler(name: str) -> ModuleType:
    if not name.isidentifier():
        raise BadInput(f"service {name!r}: is not a service's name")
    try:
        return importlib.import_module(f"services.{name}.handler")
    except ModuleNotFoundError as error:
        if error.name not in (f"services.{name}", f"services.{name}.handler"):
            raise BadInput(
                f"service {name}: needs the package {error.name}; install it with pip install 'tessera-al[{name}]'"
            ) from None
        raise BadInput(f"service {name!r}: there is none of this name") from None


def _libraries(module: ModuleType) -> tuple[str, ...]:
    return tuple(getattr(module, "LIBRARIES", ()))


def _methods(module: ModuleType) -> tuple[Method, ...]:
    methods: tuple[Method, ...] = getattr(module, "METHODS", ())
    return methods


def _check(methods: Sequence[Method]) -> None:
    for method in methods:
        method.check()
    verbs = [method.verb for method in methods]
    if len(set(verbs)) != len(verbs):
        raise TesseraError(f"methods {verbs}: two share a job subject")


def _on_signals(stop: StopSignals) -> None:
    loop = asyncio.get_running_loop()

    def leave() -> None:
        if stop.draining.is_set():
            stop.now.set()  # the second signal does not wait for jobs
        stop.draining.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave)


def _raise_failure(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and task.exception() is not None:
            error = task.exception()
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            _log.error("background work failed", extra={"work": task.get_name()}, exc_info=error)
            assert error is not None  # noqa: S101  # checked above
            raise error


def _announce(facts: dict[str, Any]) -> None:
    """Write where this process answers to ``TESSERA_READY_FILE``, whole or not at all."""
    given = os.environ.get("TESSERA_READY_FILE")
    if given:
        scratch = Path(f"{given}.{os.getpid()}.tmp")
        scratch.write_text(json.dumps(facts))
        scratch.replace(given)


def _called(names: Sequence[str]) -> str:
    """Return the name of this process in logs, metrics and traces."""
    return "+".join(names) if len(names) < 3 else "host"
