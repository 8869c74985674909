"""A process that serves, run inside the test: hooks, failures at start, leaving in order."""

from __future__ import annotations

import asyncio
import json
import logging
import types
from dataclasses import replace
from pathlib import Path

import pytest

from tessera.errors import BadInput, TesseraError, Unavailable
from tessera.pb.common_pb2 import ImageRange
from tessera.runtime import rpc
from tessera.runtime.service import Runtime, serve, slots
from tessera.runtime.settings import Settings, load
from toy.handler import METHODS


@pytest.fixture
def settings(tmp_path: Path, nats_url: str) -> Settings:
    return load(nats_url=nats_url, store=(tmp_path / "store").as_uri(), fetch_expires=0.3, drain_seconds=1.0, cores=1)


def module(**members: object) -> types.ModuleType:
    made = types.ModuleType("handler")
    for name, member in members.items():
        setattr(made, name, member)
    return made


async def _echo(request: ImageRange) -> ImageRange:
    return request


async def test_a_service_of_its_own_endpoints_and_background_work(settings: Settings) -> None:
    heard: list[str] = []
    runtimes: list[Runtime] = []

    async def start(runtime: Runtime) -> list[rpc.Endpoint]:
        runtimes.append(runtime)
        return [rpc.Unary("toy.Toy/Echo", ImageRange, _echo)]

    async def background(runtime: Runtime) -> None:
        heard.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            heard.append("ended")

    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    process = asyncio.create_task(
        serve(
            ["coordinator"],
            settings,
            load=lambda _: module(start=start, background=background),
            on_ready=address.set_result,
            signals=False,
        )
    )
    done, _ = await asyncio.wait([process, address], timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert address in done, process
    request = ImageRange(split="x")
    assert await rpc.call(address.result(), "toy.Toy/Echo", request, ImageRange, 5) == request
    assert heard == ["begun"]
    runtimes[0].stop.draining.set()
    await asyncio.wait_for(process, 10)
    assert heard == ["begun", "ended"]
    assert not await rpc.is_serving(address.result(), timeout=1)


async def test_background_work_that_fails_ends_the_process(settings: Settings) -> None:
    async def background(runtime: Runtime) -> None:
        raise BadInput("the log is of a newer version")

    with pytest.raises(BadInput, match="newer version"):
        await asyncio.wait_for(
            serve(["coordinator"], settings, load=lambda _: module(background=background), signals=False), 15
        )


async def test_without_nats_the_error_names_it(tmp_path: Path) -> None:
    settings = load(nats_url="nats://127.0.0.1:1", store=tmp_path.as_uri())
    with pytest.raises(Unavailable, match=r"NATS at nats://127\.0\.0\.1:1"):
        await serve(["coordinator"], settings, load=lambda _: module(), signals=False)


async def test_an_unknown_service_is_named(settings: Settings) -> None:
    with pytest.raises(BadInput, match="'nonsense'"):
        await serve(["nonsense"], settings, signals=False)
    with pytest.raises(BadInput, match="not a service"):
        await serve(["../x"], settings, signals=False)


async def test_a_method_that_the_protocol_does_not_declare_is_refused(settings: Settings) -> None:
    wrong = (replace(METHODS[0], path="tessera.v1.ScorerService/Scores"),)
    with pytest.raises(TesseraError, match="ScorerService/Scores: the protocol declares none"):
        await serve(["scorer"], settings, load=lambda _: module(METHODS=wrong), signals=False)


@pytest.mark.parametrize(
    ("cores", "children", "threads", "expected"),
    [(2, 0, 1, 4), (1, 0, 1, 2), (8, 3, 1, 6), (8, 0, 2, 8), (8, 3, 4, 4), (2, 0, 4, 2), (2, 0, 0, 1), (8, 3, 0, 1)],
)
def test_jobs_in_hand_are_twice_those_that_compute_and_one_where_a_job_takes_every_core(
    cores: int, children: int, threads: int, expected: int
) -> None:
    method = replace(METHODS[0], threads=threads)
    assert slots(method, load(cores=cores, children=children)) == expected


def test_a_bug_ends_the_process_with_a_log_line_and_no_loose_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tessera.runtime import service

    async def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(service, "serve", broken)
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    with pytest.raises(SystemExit) as caught:
        service.main("scorer")
    assert caught.value.code == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert [json.loads(line)["event"] for line in lines] == ["the service failed"]
