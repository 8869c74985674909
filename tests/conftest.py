"""Fixtures for all tests: real NATS and S3 servers, each bounded and stopped; torch on one thread."""

from __future__ import annotations

import gc
import os
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from containers.engine import chosen
from given_s3 import GivenS3, given_s3
from servers import NatsProcess, S3Process, find_binary, running
from tessera.runtime.settings import load

_NATS = "TESSERA_TEST_NATS_URL"
# Read when torch and numba are imported, later than here. Several processes share the cores, and a small convolution on
# two busy ones is many times slower. A kernel is compiled once, for this process and for the compute children alike.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_CACHE_DIR", str(load().cache_dir / "numba"))


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: a third of the time of the tests is waiting for servers and clocks."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 1


def pytest_report_header() -> list[str]:
    """Say which servers the tests will talk to."""
    nats = os.environ.get(_NATS) or find_binary("nats-server") or "MISSING"
    lines = [f"tessera backends: nats={nats} s3=rclone serve s3 ({find_binary('rclone') or 'MISSING'})"]
    lines += [
        f"tessera data: {name}={os.environ.get(name, 'not set')}" for name in ("TESSERA_CAMVID", "TESSERA_WEIGHTS_DIR")
    ]
    return lines


def pytest_report_collectionfinish(items: list[pytest.Item]) -> list[str]:
    """Print the engine of the container tests, where there are any: finding it takes a second."""
    if not any(item.get_closest_marker("docker") for item in items):
        return []
    return [f"tessera containers: {chosen().backend} ({chosen().reason})"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Collect garbage before a failure is printed and none in between.

    Printing parses the test's source. If garbage is collected in mid-parse and a finalizer complains, Python prints
    that by parsing too, and up to 3.12 the outer parse ends pytest: "AST constructor recursion depth mismatch".
    """
    enabled = gc.isenabled()
    if call.excinfo is not None:
        gc.collect()
    gc.disable()
    try:
        return (yield)
    finally:
        if enabled:
            gc.enable()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Let torch use one thread: small convolutions on two busy ones are many times slower."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsProcess]:
    """A JetStream server of this test's own, which it may kill and restart."""
    with running(NatsProcess(tmp_path / "nats")) as server:
        assert isinstance(server, NatsProcess)
        yield server


@pytest.fixture
def nats_url(request: pytest.FixtureRequest) -> str:
    """Address of an empty JetStream server (``TESSERA_TEST_NATS_URL``, if set, names one instead)."""
    given = os.environ.get(_NATS)
    return given or request.getfixturevalue("nats_server").url


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Process | GivenS3]:
    """One S3 server for all tests; do not kill it (start an ``S3Process`` of your own for that).

    TESSERA_TEST_S3_ENDPOINT, with _ACCESS_KEY and _SECRET_KEY, names one that runs already: is it one for Tessera?
    """
    given = given_s3()
    if given is not None:
        yield given
        return
    with running(S3Process(tmp_path_factory.mktemp("s3"))) as server:
        assert isinstance(server, S3Process)
        yield server


@pytest.fixture
def s3_url(s3_server: S3Process | GivenS3, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of an empty S3 store; the environment holds its endpoint and credentials."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3_server.bucket}/{uuid.uuid4().hex}"


@pytest.fixture
def child_functions(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of the module ``child_functions``, which compute children of this test can import."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return "child_functions"
