"""The gRPC seam: errors keep their class and text, limits hold, nobody is left waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from tessera import errors
from tessera.errors import BadInput, TesseraError, Unavailable
from tessera.pb.common_pb2 import ImageRange
from tessera.runtime import rpc
from tessera.runtime.settings import load

KINDS = [
    errors.BadInput, errors.CorruptObject, errors.Unavailable, errors.Conflict, errors.OutOfMemory, errors.ChildCrashed,
    errors.ChildTimedOut, errors.Cancelled, errors.JobFailedError, errors.TesseraError,
    errors.Unauthenticated, errors.Forbidden,
]  # fmt: skip
BY_REASON = {kind.reason: kind for kind in KINDS}
ECHO, COUNT = "toy.Toy/Echo", "toy.Toy/Count"


async def _echo(request: ImageRange) -> ImageRange:
    if request.split in BY_REASON:
        raise BY_REASON[request.split](f"{request.split}: what, where, remedy")
    if request.split == "bug":
        raise KeyError("/secret/path")
    if request.split == "slow":
        await asyncio.sleep(30)
    if request.split == "large":
        return ImageRange(split="x" * request.start)
    return request


async def _count(request: ImageRange) -> AsyncGenerator[ImageRange, None]:
    for index in range(request.start, request.end):
        yield ImageRange(start=index)
    if request.split:
        raise BadInput(request.split)


@pytest.fixture
async def server() -> AsyncIterator[rpc.Server]:
    made = rpc.Server(
        [rpc.Unary(ECHO, ImageRange, _echo), rpc.Stream(COUNT, ImageRange, _count)], load(grpc_concurrency=4)
    )
    await made.start()
    yield made
    await made.stop(0)


async def test_a_response_comes_back(server: rpc.Server) -> None:
    request = ImageRange(split="train", start=1, end=5)
    assert await rpc.call(server.address, ECHO, request, ImageRange, 5) == request


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_keeps_its_class_and_text(server: rpc.Server, kind: type[TesseraError]) -> None:
    with pytest.raises(TesseraError) as caught:
        await rpc.call(server.address, ECHO, ImageRange(split=kind.reason), ImageRange, 5)
    assert type(caught.value) is kind
    assert str(caught.value) == f"{kind.reason}: what, where, remedy"


async def test_a_bug_shows_nothing_of_the_inside(server: rpc.Server) -> None:
    with pytest.raises(TesseraError, match="internal error") as caught:
        await rpc.call(server.address, ECHO, ImageRange(split="bug"), ImageRange, 5)
    assert "secret" not in str(caught.value)


async def test_a_stream_delivers_and_fails_in_order(server: rpc.Server) -> None:
    seen: list[int] = []

    async def read() -> None:
        async for message in rpc.stream(server.address, COUNT, ImageRange(split="enough", end=50), ImageRange, 5):
            seen.append(message.start)  # noqa: PERF401  # looked at after the error

    with pytest.raises(BadInput, match="enough"):
        await read()
    assert seen == list(range(50))


async def test_a_deadline_is_kept(server: rpc.Server) -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"no answer within 0\.3 s"):
        await rpc.call(server.address, ECHO, ImageRange(split="slow"), ImageRange, 0.3)
    assert time.monotonic() - started < 10  # not the 30 s of the call


async def test_more_calls_than_allowed_are_refused(server: rpc.Server) -> None:
    async with rpc.Channel(server.address) as channel:
        slow = [asyncio.create_task(channel.call(ECHO, ImageRange(split="slow"), ImageRange, 2)) for _ in range(4)]
        await asyncio.sleep(0.3)
        with pytest.raises(Unavailable, match=r"refused, 4 calls are open.*TESSERA_GRPC_CONCURRENCY"):
            await channel.call(ECHO, ImageRange(), ImageRange, 5)
        for result in await asyncio.gather(*slow, return_exceptions=True):
            assert isinstance(result, Unavailable)


@pytest.mark.parametrize("request_bytes", [(4 << 20) + 1, 0])
async def test_too_large_a_message_is_refused(server: rpc.Server, request_bytes: int) -> None:
    request = ImageRange(split="x" * request_bytes) if request_bytes else ImageRange(split="large", start=5 << 20)
    with pytest.raises(Unavailable, match="too large a message"):
        await rpc.call(server.address, ECHO, request, ImageRange, 5)
    assert await rpc.call(server.address, ECHO, ImageRange(), ImageRange, 5) == ImageRange()


async def test_nobody_there_is_named_with_the_remedy() -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1: no server answers.*check the address"):
        await rpc.call("127.0.0.1:1", ECHO, ImageRange(), ImageRange, 5)


async def test_a_server_that_leaves_in_the_middle_is_worth_another_try(server: rpc.Server) -> None:
    async with rpc.Channel(server.address) as channel:
        waiting = asyncio.create_task(channel.call(ECHO, ImageRange(split="slow"), ImageRange, 10))
        await asyncio.sleep(0.3)
        await server.stop(0)
        with pytest.raises(Unavailable, match=r"toy\.Toy/Echo at .*: (the server left|no server answers)"):
            await waiting


async def test_a_method_that_is_not_there(server: rpc.Server) -> None:
    with pytest.raises(BadInput, match="no such method"):
        await rpc.call(server.address, "toy.Toy/None", ImageRange(), ImageRange, 5)


async def test_a_taken_port_is_an_error(server: rpc.Server) -> None:
    second = rpc.Server([], load(grpc_port=int(server.address.split(":")[1])))
    with pytest.raises(BadInput, match="TESSERA_GRPC_PORT"):
        await second.start()


async def test_health_flips_when_draining_and_calls_are_still_answered(server: rpc.Server) -> None:
    assert await rpc.is_serving(server.address)
    assert await rpc.is_serving(server.address, "toy.Toy")
    await server.drain()
    assert not await rpc.is_serving(server.address)
    assert await rpc.call(server.address, ECHO, ImageRange(start=1), ImageRange, 5) == ImageRange(start=1)
