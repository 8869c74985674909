"""An address at which a tool tells that something has changed, so that a sync looks at once instead of now and then.

A call carries a secret and nothing that is read: answers are fetched through the tool's API. So a call that is lost
costs time, one that comes twice changes nothing, and one that is forged is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import http.client
import io
import secrets
from types import TracebackType
from typing import Final, Self

from tessera.errors import BadInput

_CALL_SECONDS: Final = 10.0
_HEAD_BYTES: Final = 16 << 10
_BODY_BYTES: Final = 1 << 20
_MOST: Final = 64
"""Calls at a time."""


class Webhook:
    """An HTTP server at ``host:port`` (port 0: any free one) that notes calls with its secret; a context manager.

    A call is ``POST`` with the header ``Authorization: Bearer SECRET``; it is answered by 204 before anything is done,
    because tools call while their user waits. Others are answered by 401, 405, 400 or 413. BadInput: an address at
    which nobody can listen.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise BadInput(f"--listen {address}: write HOST:PORT, 127.0.0.1:8081")
        self._host, self.port = host.strip("[]"), int(port)
        self.headers: Final = {"Authorization": f"Bearer {secrets.token_urlsafe(32)}"}
        """What a call has to carry. New with each start."""
        self._told = asyncio.Event()
        self._calls = set[asyncio.Task[None]]()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(self._accept, self._host, self.port, limit=_HEAD_BYTES)
        except OSError as error:
            raise BadInput(
                f"--listen {self._host}:{self.port}: {error.strerror or error}; give another address of this machine"
            ) from None
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def heard(self, seconds: float) -> bool:
        """Wait for a call up to ``seconds``; return whether one came since the last time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told.wait()
        told = self._told.is_set()
        self._told.clear()
        return told

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio's servers cry about theirs that are cancelled.
        task = asyncio.create_task(self._call(reader, writer))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        # Also where it is cancelled before it begins.
        task.add_done_callback(lambda _: writer.close())

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if len(self._calls) <= _MOST:
                async with asyncio.timeout(_CALL_SECONDS):
                    status = await self._read(reader)
                    told = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    writer.write(told.encode())
                    await writer.drain()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # A caller that is slow, goes away, or speaks something else.
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> http.HTTPStatus:
        """Read a call and return the status of its answer."""
        first, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
        try:
            headers = http.client.parse_headers(io.BytesIO(rest))
            length = int(headers.get("Content-Length") or 0)
        except (http.client.HTTPException, ValueError):
            return http.HTTPStatus.BAD_REQUEST
        if not 0 <= length <= _BODY_BYTES:
            return http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        # Whoever closes with bytes unread may lose its answer on the way.
        await reader.readexactly(length)
        given = str(headers.get("Authorization") or "").encode()
        if not hmac.compare_digest(given, self.headers["Authorization"].encode()):
            return http.HTTPStatus.UNAUTHORIZED
        if not first.startswith(b"POST "):
            return http.HTTPStatus.METHOD_NOT_ALLOWED
        self._told.set()
        return http.HTTPStatus.NO_CONTENT
