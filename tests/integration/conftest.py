"""One reference run, made once, which every other run of the same recipe and seed must repeat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import label_studio
from integration.loop import end_started, tessera, write_recipe


@pytest.fixture(autouse=True)
def _no_command_outlives_its_test() -> Iterator[None]:
    yield
    end_started()


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe as a file."""
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set on disk, as a user's own would be."""
    folder = tmp_path_factory.mktemp("data") / "street"
    sizes = ["height=64", "width=96", "train=2", "val=1", "test=1", "frames=3"]
    made = tessera("data", "make", "street", folder, "--seed", 3, *[part for size in sizes for part in ("--set", size)])
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="session")
def reference(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the tiny recipe, undisturbed, in one host process."""
    out = tmp_path_factory.mktemp("reference") / "out"
    done = tessera("run", recipe, "--out", out, "--seed", 5)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[label_studio.Person]:
    """Somebody who is signed in at a Label Studio of these tests alone."""
    with label_studio.server(tmp_path_factory.mktemp("label_studio")) as person:
        yield person
