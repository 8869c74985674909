"""One deployment per test, and the reference run that every other one must repeat."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from containers.cleaning import cleaned
from containers.cluster import Cluster
from containers.deployment import Containers, Deployment, Processes
from containers.engine import SERVICES, chosen
from integration.loop import selections, tessera, write_recipe


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever happens to this session, nothing that it started under Docker remains."""
    if not any(item.get_closest_marker("docker") for item in request.session.items) or chosen().backend != "docker":
        yield
        return
    with cleaned():
        yield


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny street recipe as a file."""
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="session")
def expected_of(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[str]]:
    """Selections of ``tessera run`` with a seed: the digest of each round."""

    @functools.cache
    def selected(seed: int) -> list[str]:
        out = tmp_path_factory.mktemp("expected") / "out"
        done = tessera("run", recipe, "--out", out, "--seed", seed, timeout=1200, TESSERA_CHILD_NICE="0")
        assert done.returncode == 0, done.stderr
        return selections(out)

    return selected


@pytest.fixture(scope="session")
def expected(expected_of: Callable[[int], list[str]]) -> list[str]:
    """Those with the seed that tests take."""
    return expected_of(5)


@pytest.fixture
def cluster(empty: Cluster) -> Cluster:
    """Every service once, all of them serving."""
    empty.add(*SERVICES)
    return empty


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """NATS and S3 alone."""
    # The engine's own cleaner is an image that may not be here; what a test starts it removes.
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    folder = tmp_path / "deployment"
    folder.mkdir()
    made: Deployment = Containers(folder) if chosen().backend == "docker" else Processes(folder)
    try:
        yield Cluster(made, ())
    finally:
        made.close()
        # While this test's filter of warnings holds: docker-py and testcontainers leave connections open.
        del made
        gc.collect()
