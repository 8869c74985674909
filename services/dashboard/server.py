"""The HTTP server: its socket, its life within the process, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator

import uvicorn

from services.dashboard.app import Dashboard
from tessera.errors import BadInput
from tessera.runtime import tls
from tessera.runtime.objects import restrict
from tessera.runtime.service import Runtime

_log = logging.getLogger(__name__)
_GRACE_SECONDS = 3
_LEAVE_SECONDS = 5.0


def start(runtime: Runtime) -> None:
    """Listen, and serve in the background until the process leaves; BadInput for settings that do not fit."""
    settings = runtime.settings
    if not (tls.is_loopback(settings.http_host) or settings.http_secure or settings.insecure):
        raise BadInput(
            f"TESSERA_HTTP_HOST {settings.http_host}: other machines reach this port; put a server that speaks TLS in "
            "front and set TESSERA_HTTP_SECURE=true, or set TESSERA_HTTP_HOST=127.0.0.1, or TESSERA_INSECURE=true "
            "where something else protects the way"
        )
    dashboard = Dashboard.open(settings, restrict(runtime.store, "dashboard"), runtime.messaging)
    listening = listen(settings.http_host, settings.http_port)
    runtime.spawn(_serve(runtime, dashboard, listening), "dashboard")
    host, port = listening.getsockname()[:2]
    _log.info("the dashboard serves", extra={"address": f"http://{host}:{port}"})


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; BadInput when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(128)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise BadInput(
            f"HTTP address {host}:{port}: {error.strerror}; set TESSERA_HTTP_HOST and TESSERA_HTTP_PORT (0: any free "
            "port)"
        ) from None
    return made


class _Server(uvicorn.Server):
    """Leaves signals to the service, which ends it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal."""
        yield


async def serve_app(dashboard: Dashboard, listening: socket.socket, stop: asyncio.Event) -> None:
    """Serve on a socket until ``stop`` is set or the task is cancelled; closes the socket and the dashboard."""
    config = uvicorn.Config(
        dashboard.app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        lifespan="off",
        h11_max_incomplete_event_size=32 << 10,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=30,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="uvicorn")
    told = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([serving, told], return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()
        await dashboard.feeds.close()
        server.should_exit = True
        await asyncio.wait([serving], timeout=_LEAVE_SECONDS)
        serving.cancel()
        await asyncio.gather(serving, told, return_exceptions=True)
        await dashboard.close()
        listening.close()


async def _serve(runtime: Runtime, dashboard: Dashboard, listening: socket.socket) -> None:
    await serve_app(dashboard, listening, runtime.stop.draining)
    # A service's background work must not end before the process does.
    await runtime.stop.now.wait()
