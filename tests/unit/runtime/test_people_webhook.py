"""Calls of a tool to a sync: those with the secret are heard, others are refused, and none can hold the sync."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import pytest

from tessera.errors import BadInput
from tessera.runtime.people import webhook
from tessera.runtime.people.webhook import Webhook

PROMPTLY = 0.05
REFUSED = b"HTTP/1.1 400 Bad Request\r\n"


async def sent(port: int, data: bytes) -> bytes:
    """What the server answers to these bytes, until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 60)
    except ConnectionResetError:  # it has closed before it read everything
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()


async def call(port: int, headers: Mapping[str, str], body: bytes = b"{}", method: str = "POST") -> int:
    told = {"Host": "sync", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    answer = await sent(port, f"{method} /any/path HTTP/1.1\r\n{head}\r\n".encode() + body)
    return int(answer.split(b" ")[1])


async def test_a_call_with_the_secret_is_heard_once_and_others_are_refused() -> None:
    async with Webhook("127.0.0.1:0") as hook, Webhook("127.0.0.1:0") as other:
        assert not await hook.heard(0)
        for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer wrong"}, dict(other.headers)):
            assert await call(hook.port, headers) == 401
        assert await call(hook.port, hook.headers, method="GET") == 405
        for length, status in (("9999999", 413), ("-1", 413), ("many", 400)):
            assert await call(hook.port, {**hook.headers, "Content-Length": length}, b"") == status
        assert not await hook.heard(PROMPTLY)
        # Two calls before anybody looks are one reason to look.
        assert [await call(hook.port, hook.headers) for _ in range(2)] == [204, 204]
        assert await hook.heard(60)
        assert not await hook.heard(PROMPTLY)
        waiting = asyncio.create_task(hook.heard(60))
        assert await call(hook.port, hook.headers, b"x" * 100_000) == 204
        assert await waiting


async def test_what_is_no_call_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "_CALL_SECONDS", 0.2)
    async with Webhook("127.0.0.1:0") as hook:
        assert await sent(hook.port, b"x" * 40_000) == b""
        assert await sent(hook.port, b"POST / HTTP/1.1\r\n") == b""
        assert (await sent(hook.port, b"POST / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n")).startswith(REFUSED)
        assert not await hook.heard(PROMPTLY)
        assert await call(hook.port, hook.headers) == 204
        monkeypatch.setattr(webhook, "_MOST", 0)
        assert await sent(hook.port, b"POST / HTTP/1.1\r\n\r\n") == b""


async def test_the_end_does_not_wait_for_callers() -> None:
    async with Webhook("127.0.0.1:0") as hook:
        halfway = asyncio.create_task(sent(hook.port, b"POST / HTTP/1.1\r\n"))
        while not hook._calls:
            await asyncio.sleep(0.01)
    assert await halfway == b""


@pytest.mark.parametrize("address", ["", "8081", "host:", "127.0.0.1:70000", "127.0.0.1:x"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(BadInput, match="--listen"):
        Webhook(address)


async def test_an_address_that_is_taken_is_named() -> None:
    async with Webhook("127.0.0.1:0") as hook:
        with pytest.raises(BadInput, match=f"--listen 127.0.0.1:{hook.port}: .*; give another"):
            async with Webhook(f"127.0.0.1:{hook.port}"):
                pass
