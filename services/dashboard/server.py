"""The HTTP server: its socket, its life within the process, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator

import uvicorn

from services.dashboard.app import Dashboard
from tessera.errors import BadInput
from tessera.runtime import tls
from tessera.runtime.objects import restrict
from tessera.runtime.seldom import Seldom
from tessera.runtime.service import Runtime
from tessera.runtime.settings import Settings

_log = logging.getLogger(__name__)
_seldom = Seldom(_log)
_GRACE_SECONDS = 3
_LEAVE_SECONDS = 5.0
_RENEW_SECONDS = 60.0


def start(runtime: Runtime) -> None:
    """Listen, and serve in the background until the process leaves; BadInput for settings that do not fit."""
    settings = runtime.settings
    tls.check_page(settings)
    context = tls.http_context(settings)
    dashboard = Dashboard.open(settings, restrict(runtime.store, "dashboard"), runtime.messaging)
    listening = listen(settings.http_host, settings.http_port)
    runtime.spawn(_serve(runtime, dashboard, listening, context), "dashboard")
    if context is not None:
        runtime.spawn(_renew(settings, context), "certificate")
    host, port = listening.getsockname()[:2]
    _log.info("the dashboard serves", extra={"address": f"http{'s' if context else ''}://{host}:{port}"})


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


async def serve_app(
    dashboard: Dashboard, listening: socket.socket, stop: asyncio.Event, context: ssl.SSLContext | None = None
) -> None:
    """Serve on a socket until ``stop`` is set or the task is cancelled; closes the socket and the dashboard.

    With ``context`` over TLS.
    """
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
    config.load()
    config.ssl = context
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


async def _renew(settings: Settings, context: ssl.SSLContext) -> None:
    """Read the certificate again every minute: a renewed one comes as a change of files, for the next connections."""
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        try:
            renewed = await asyncio.to_thread(tls.http_context, settings)
        except BadInput as error:
            # The old one goes on; files are replaced one after the other.
            _seldom.warning("the certificate cannot be read again", error=str(error))
        else:
            tls.replace(context, renewed)


async def _serve(
    runtime: Runtime, dashboard: Dashboard, listening: socket.socket, context: ssl.SSLContext | None
) -> None:
    # Before the first request: a link that was taken back admits nobody.
    position = await dashboard.links.load()
    runtime.spawn(dashboard.links.follow(position), "links")
    await serve_app(dashboard, listening, runtime.stop.draining, context)
    # A service's background work must not end before the process does.
    await runtime.stop.now.wait()
