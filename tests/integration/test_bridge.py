"""The bridge: jobs of JetStream, computed by a program that serves gRPC alone; and what the program's ends become."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import third_party
from integration.loop import tessera
from tessera.cli.conformance.bench import Bench
from tessera.errors import (
    BadInput,
    ChildCrashed,
    ChildTimedOut,
    CorruptObject,
    OutOfMemory,
    TesseraError,
    Unavailable,
)
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.selector_pb2 import SelectRequest, SelectResponse
from tessera.runtime import bridge, catalogue, messaging, rpc
from tessera.runtime.method import Method
from tessera.runtime.objects import open_store
from tessera.runtime.settings import load

SELECT = catalogue.methods()["Select"][1]
LOST = ObjectRef(
    bucket="local", key="cas/sha256/ab/" + "c" * 62, sha256="ab" + "c" * 62, size=1, media_type="text/plain"
)
Function = Callable[[SelectRequest], Awaitable[SelectResponse]]


async def _choose(request: SelectRequest) -> SelectResponse:
    return SelectResponse(count=int(request.seed), notes=["a note"])


@dataclass
class Program:
    """Serves Select by a function that a test may replace."""

    function: Function = _choose
    calls: int = 0
    given_up: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    server: rpc.Server = field(init=False)

    async def answer(self, request: SelectRequest) -> SelectResponse:
        self.calls += 1
        self.begun.set()
        try:
            return await self.function(request)
        except asyncio.CancelledError:
            self.given_up += 1
            raise

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        self.server = rpc.Server([rpc.Unary(SELECT.path, SelectRequest, self.answer)], load())
        try:
            yield await self.server.start()
        finally:
            await self.server.stop(0)


def _raising(error: Exception) -> Function:
    async def function(request: SelectRequest) -> SelectResponse:
        raise error

    return function


async def _never(request: SelectRequest) -> SelectResponse:
    await asyncio.Event().wait()
    raise AssertionError("it waits for ever")


async def _asked(program: Program, method: Method = SELECT, **fields: object) -> bytes:
    async with program.serving() as address:
        return await bridge.ask(address, load(), method, SelectRequest(seed=3, **fields))  # type: ignore[arg-type]


async def test_the_answers_bytes_are_passed_on_as_they_are() -> None:
    assert await _asked(Program()) == SelectResponse(count=3, notes=["a note"]).SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("error", "kind", "named"),
    [
        (BadInput("stages[0]: unknown"), BadInput, "stages"),
        (OutOfMemory("no memory is left"), OutOfMemory, "memory"),
        (Unavailable("the store is away"), Unavailable, "store"),
        (ValueError("a bug"), TesseraError, "internal error"),
    ],
)
async def test_an_error_of_the_program_is_the_jobs(error: Exception, kind: type[Exception], named: str) -> None:
    with pytest.raises(kind, match=named) as caught:
        await _asked(Program(_raising(error)))
    assert type(caught.value) is kind


async def test_a_lost_object_is_found_in_the_request() -> None:
    for name, expected in ((LOST.key, LOST), ("cas/sha256/other", None)):
        with pytest.raises(CorruptObject) as caught:
            await _asked(Program(_raising(CorruptObject(f"object {name}: is lost"))), ledgers=[LOST])
        assert caught.value.ref == expected


async def test_a_program_that_does_not_serve_is_an_outage_and_no_attempt() -> None:
    program = Program()
    async with program.serving() as address:
        await program.server.report(serving=False)
        with pytest.raises(Unavailable, match=rf"SelectorService at {address}: does not serve"):
            await bridge.ask(address, load(), SELECT, SelectRequest())
    assert program.calls == 0


async def test_a_program_that_goes_away_in_the_middle_has_crashed() -> None:
    program = Program(_never)
    async with program.serving() as address:
        asking = asyncio.create_task(bridge.ask(address, load(), SELECT, SelectRequest()))
        await program.begun.wait()
        await program.server.stop(0)
        with pytest.raises(ChildCrashed, match=f"{address} went away in the middle of the call"):
            await asking


async def test_a_call_ends_at_the_methods_limit() -> None:
    program = Program(_never)
    async with program.serving() as address:
        with pytest.raises(ChildTimedOut, match=r"no answer within 0\.5 s"):
            await bridge.ask(address, load(), replace(SELECT, timeout_seconds=0.5), SelectRequest())
        await _until(lambda: program.given_up == program.calls == 1)


async def test_requests_and_answers_that_do_not_fit_are_said() -> None:
    settings = load().model_copy(update={"grpc_message_bytes": 64 << 20})
    large = SelectRequest(ledgers=[LOST] * 50_000)
    async with Program().serving() as address:
        with pytest.raises(TesseraError, match=r"the request has \d+ bytes: let it take larger messages") as caught:
            await bridge.ask(address, settings, SELECT, large)
        assert type(caught.value) is TesseraError

    async def other(request: SelectRequest) -> bytes:
        return b"\xff" * 9

    server = rpc.Server([rpc.Unary(SELECT.path, SelectRequest, other)], load())
    try:
        with pytest.raises(TesseraError, match="is no SelectResponse"):
            await bridge.ask(await server.start(), load(), SELECT, SelectRequest())
    finally:
        await server.stop(0)


@pytest.mark.parametrize(
    ("service", "versions", "named"),
    [
        ("chooser", {}, r"service 'chooser': has no jobs; known: embedder"),
        ("coordinator", {}, r"service 'coordinator': has no jobs"),
        ("selector", {"Choose": "1"}, r"unknown method 'Choose'"),
        ("selector", {"Select": ""}, r"Select has an empty version"),
    ],
)
def test_a_bridge_that_cannot_be_is_refused(service: str, versions: dict[str, str], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        bridge.main(service, "127.0.0.1:9", versions)


def test_as_a_module_it_refuses_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tessera.runtime.bridge", "chooser", "127.0.0.1:9"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: service 'chooser': has no jobs; known: ")


def test_a_bridge_without_a_version_says_where_to_give_one() -> None:
    done = tessera("bridge", "selector", "--to", "127.0.0.1:9")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "bridge of selector: Select has no version; give one with --algorithm Select=VERSION" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.full
async def test_jobs_are_done_once_kept_alive_waited_for_and_cancelled(nats_url: str, tmp_path: Path) -> None:
    """One bridge, for its start takes longest."""
    program, store = Program(), (tmp_path / "store").as_uri()
    settings = {
        "TESSERA_NATS_URL": nats_url,
        "TESSERA_STORE": store,
        "TESSERA_ALGORITHMS": '{"Select": "plain/1"}',
        "TESSERA_ACK_WAIT": "1",
        "TESSERA_HEARTBEAT": "0.25",
    }
    nats = await messaging.connect(nats_url, name="test")
    try:
        async with program.serving() as address:
            process = third_party.bridged(tmp_path, settings, address)
            own = await asyncio.to_thread(process.__enter__)
            try:
                async with rpc.Channel(own) as channel:
                    versions = {"Select": "plain/1"}
                    bench = Bench(channel, open_store(store, load()), versions, "bridge", 120.0, nats)
                    await bench.open_queue()
                    await _drill(bench, program)
            finally:
                await asyncio.to_thread(process.__exit__, None, None, None)
    finally:
        await nats.close()


async def _drill(bench: Bench, program: Program) -> None:
    # Both doors, one computation.
    record = await bench.done(SELECT, SelectRequest(seed=1))
    assert (await bench.call(SELECT, SelectRequest(seed=1))).data == record.response
    assert (program.calls, record.attempt, record.algorithm) == (1, 1, "plain/1")

    # Longer than the server waits for an acknowledgement without heartbeats.
    async def slow(request: SelectRequest) -> SelectResponse:
        await asyncio.sleep(3)
        return await _choose(request)

    program.function, program.calls = slow, 0
    assert (await bench.done(SELECT, SelectRequest(seed=2))).attempt == 1
    assert program.calls == 1

    # A cancelled run: the call ends, and nothing is told.
    program.function, program.begun = _never, asyncio.Event()
    sent = await bench.queue(SELECT, SelectRequest(seed=3), run_id="bridge-cancelled")
    await program.begun.wait()
    await bench.cancel("bridge-cancelled")
    await bench.left(sent.sequence)
    await _until(lambda: program.given_up == 1)

    # The program is away: the job waits, and that is no attempt.
    program.function, program.calls = _choose, 0
    await program.server.report(serving=False)
    sent = await bench.queue(SELECT, SelectRequest(seed=4))
    await bench.taken(SELECT)
    await asyncio.sleep(0.5)
    await program.server.report(serving=True)
    assert (bench.result(await bench.end(sent)).attempt, program.calls) == (1, 1)

    program.function = _raising(CorruptObject(f"object {LOST.key}: is lost"))
    failure, letter = await bench.failure(SELECT, SelectRequest(seed=5, ledgers=[LOST]))
    assert (failure.reason, failure.exit_code, failure.object) == ("corrupt_object", 3, LOST)
    assert letter is not None


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.02)
