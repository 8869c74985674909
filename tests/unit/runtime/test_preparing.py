"""Children that were prepared have what jobs import, and jobs find them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from memory_blobs import MemoryBlobs
from tessera.pb.common_pb2 import ImageRange
from tessera.runtime.catalogue import methods
from tessera.runtime.pool import ComputePool
from tessera.runtime.preparing import load as load_modules
from tessera.runtime.preparing import prepare
from tessera.runtime.settings import load

UNUSUAL = "this"
"""A module of the standard library that nothing imports."""


async def test_prepared_children_are_those_that_compute(tmp_path: Path, child_functions: str) -> None:
    settings = load(cores=2, cache_dir=tmp_path / "cache", scratch_dir=tmp_path, store=(tmp_path / "store").as_uri())
    pool = ComputePool(2, settings)
    try:
        await prepare(pool, [UNUSUAL], pool.size)
        prepared = set(pool.pids)
        assert len(prepared) == 2

        async def imported() -> str:
            request = ImageRange(split=UNUSUAL)
            done = await pool.run("child_functions:imported", request, ImageRange, {}, timeout=60)
            done.discard()
            return done.response.split

        assert await asyncio.gather(imported(), imported()) == ["yes", "yes"]
        assert set(pool.pids) == prepared
    finally:
        await pool.close()


def test_a_package_is_loaded_with_all_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "prepared_package"
    (package / "below").mkdir(parents=True)
    for name, text in {"__init__": "", "one": "", "other": "import no_such_library", "below/__init__": ""}.items():
        (package / f"{name}.py").write_text(text)
    (package / "below" / "two.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    load_modules(StringValue(value="prepared_package"), MemoryBlobs())
    assert "prepared_package.one" not in sys.modules
    load_modules(StringValue(value="prepared_package.*"), MemoryBlobs())
    assert {name for name in sys.modules if name.startswith("prepared_package.")} == {
        "prepared_package.one",
        "prepared_package.below",
        "prepared_package.below.two",
    }


async def test_a_module_that_is_not_there_is_left_to_the_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = load(cores=1, cache_dir=tmp_path / "cache", scratch_dir=tmp_path, store=(tmp_path / "store").as_uri())
    pool = ComputePool(1, settings)
    try:
        await prepare(pool, ["no_such_module_anywhere"], 1)
    finally:
        await pool.close()
    assert "was not prepared" in caplog.text


def test_every_service_with_jobs_names_its_libraries() -> None:
    import importlib
    import importlib.util

    for service in {owner for owner, _ in methods().values()}:
        libraries = importlib.import_module(f"services.{service}.handler").LIBRARIES
        assert f"services.{service}.compute" in libraries
        assert all(importlib.util.find_spec(name.removesuffix(".*")) for name in libraries)
