"""The compute pool with real children: answers, warm reuse, cancellation, leaving."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from tessera.errors import BadInput, OutOfMemory, TesseraError, Unavailable
from tessera.pb.common_pb2 import ImageRange, ObjectRef
from tessera.runtime.gate import ShuttingDown
from tessera.runtime.pool import ComputePool
from tessera.runtime.settings import Settings, load


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return load(cores=2, cache_dir=tmp_path / "cache", scratch_dir=scratch, store=(tmp_path / "store").as_uri())


@pytest_asyncio.fixture
async def pool(settings: Settings, child_functions: str) -> AsyncIterator[ComputePool]:
    made = ComputePool(2, settings)
    yield made
    await made.close()


async def run(pool: ComputePool, name: str, request: ImageRange | None = None, **options: object) -> ImageRange:
    request = ImageRange() if request is None else request
    arguments: dict[str, object] = {"paths": {}, "timeout": 30, **options}
    result = await pool.run(f"child_functions:{name}", request, ImageRange, **arguments)  # type: ignore[arg-type]
    result.discard()
    return result.response


async def test_reads_verified_inputs_and_returns_what_was_written(pool: ComputePool, tmp_path: Path) -> None:
    source = tmp_path / "input"
    source.write_bytes(b"text")
    digest = hashlib.sha256(b"text").hexdigest()
    ref = ObjectRef(bucket="local", key="a/b", sha256=digest, size=4)
    seen: list[tuple[float, str]] = []
    result = await pool.run(
        "child_functions:upper",
        ref,
        ObjectRef,
        {digest: source},
        timeout=30,
        on_progress=lambda f, n: seen.append((f, n)),
    )
    (blob,) = result.blobs
    assert blob.path.read_bytes() == b"TEXT"
    assert blob.sha256 == result.response.sha256 == hashlib.sha256(b"TEXT").hexdigest()
    assert blob.key == result.response.key == f"cas/sha256/{blob.sha256[:2]}/{blob.sha256[2:]}"
    assert (blob.size, blob.media_type, result.response.bucket) == (4, "text/plain", "local")
    assert seen == [(0.5, "half")]
    assert 0 <= result.compute_seconds < 5
    result.discard()
    assert not blob.path.exists()


async def test_an_input_that_changed_after_verification_is_refused(pool: ComputePool, tmp_path: Path) -> None:
    source = tmp_path / "input"
    source.write_bytes(b"tExt")
    digest = hashlib.sha256(b"text").hexdigest()
    with pytest.raises(TesseraError, match="a/b: sha256") as caught:
        await pool.run(
            "child_functions:upper", ObjectRef(key="a/b", sha256=digest, size=4), ObjectRef, {digest: source}
        )
    assert caught.value.reason == "corrupt_object"
    source.unlink()
    with pytest.raises(Unavailable, match="left the cache"):
        await pool.run(
            "child_functions:upper", ObjectRef(key="a/b", sha256=digest, size=4), ObjectRef, {digest: source}
        )


async def test_equal_bytes_are_written_once(pool: ComputePool) -> None:
    result = await pool.run("child_functions:write_twice", ImageRange(), ObjectRef, {}, timeout=30)
    assert [blob.size for blob in result.blobs] == [4, 5]


async def test_errors_keep_their_class_and_the_child_lives_on(pool: ComputePool) -> None:
    first = (await run(pool, "pid")).start
    with pytest.raises(BadInput, match=r"^classes: 300 is more than 255; use fewer$"):
        await run(pool, "bad_input")
    with pytest.raises(Unavailable, match="store: gone"):
        await run(pool, "unavailable")
    with pytest.raises(TesseraError, match="child_functions:bug: KeyError: 'missing'") as caught:
        await run(pool, "bug")
    assert caught.value.reason == "internal"
    assert "Traceback" not in str(caught.value)
    with pytest.raises(TesseraError, match="returned int, not a protobuf message"):
        await run(pool, "wrong_type")
    with pytest.raises(TesseraError, match=r"write_twice: returned tessera\.v1\.ObjectRef, not ImageRange"):
        await run(pool, "write_twice")
    with pytest.raises(TesseraError, match="no_such_function"):
        await run(pool, "no_such_function")
    assert (await run(pool, "pid")).start == first


async def test_a_child_that_ran_out_of_memory_keeps_nothing_for_the_next_job(pool: ComputePool) -> None:
    counts = [(await run(pool, "remember", affinity="here")).end for _ in range(2)]
    with pytest.raises(OutOfMemory):
        await run(pool, "remember", ImageRange(start=1), affinity="here")
    counts += [(await run(pool, "remember", affinity="here")).end for _ in range(2)]
    assert counts == [0, 1, 0, 1]


async def test_children_are_reused_and_affinity_decides_which(pool: ComputePool) -> None:
    async def held(affinity: str) -> int:
        await asyncio.sleep(0)
        return (await run(pool, "pid", affinity=affinity)).start

    # Two at once make two children; from then on each affinity stays with its own.
    await asyncio.gather(run(pool, "sleep", ImageRange(start=300), affinity="a"), held("b"))
    a, b = await held("a"), await held("b")
    assert a != b
    assert [await held("a"), await held("b"), await held("b"), await held("a")] == [a, b, b, a]
    assert sorted(pool.pids) == sorted((a, b))


async def test_one_child_serves_jobs_that_come_one_by_one(pool: ComputePool) -> None:
    assert len({(await run(pool, "pid", affinity=str(i))).start for i in range(4)}) == 1


async def test_a_child_that_died_while_idle_is_replaced(pool: ComputePool) -> None:
    first = (await run(pool, "pid")).start
    os.kill(first, signal.SIGKILL)
    # Its leader is a zombie before its other threads have ended; only then can anybody know that it is dead.
    await asyncio.to_thread(os.waitid, os.P_PID, first, os.WEXITED | os.WNOWAIT)
    assert (await run(pool, "pid")).start != first


async def test_cancelling_kills_the_child_of_that_job_only(pool: ComputePool, settings: Settings) -> None:
    other = asyncio.create_task(run(pool, "sleep", ImageRange(start=1500, split="other")))
    while not pool.pids:
        await asyncio.sleep(0.01)
    job = asyncio.create_task(run(pool, "spin"))
    while len(pool.pids) < 2:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    pids = set(pool.pids)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    (left,) = pool.pids
    assert not psutil.pid_exists((pids - {left}).pop())
    assert (await other).split == "other"
    assert [len(list(folder.iterdir())) for folder in (settings.scratch_dir or Path()).iterdir()] == [0]


async def test_grandchildren_die_with_their_job(pool: ComputePool) -> None:
    notes: list[str] = []
    job = asyncio.create_task(run(pool, "grandchild", on_progress=lambda _, note: notes.append(note)))
    while not notes:
        await asyncio.sleep(0.01)
    grandchild = psutil.Process(int(notes[0]))
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    psutil.wait_procs([grandchild], timeout=5)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


async def test_close_ends_running_jobs_and_removes_scratch(settings: Settings, child_functions: str) -> None:
    pool = ComputePool(1, settings)
    job = asyncio.create_task(run(pool, "spin"))
    while not pool.pids:
        await asyncio.sleep(0.01)
    (pid,) = pool.pids
    start = time.monotonic()
    await pool.close()
    assert time.monotonic() - start < 20
    assert not psutil.pid_exists(pid)
    with pytest.raises(asyncio.CancelledError):
        await job
    assert list((settings.scratch_dir or Path()).iterdir()) == []
    with pytest.raises(Unavailable, match="shutting down"):
        await run(pool, "echo")


async def test_draining_lets_what_computes_end_and_sends_away_what_waits(settings: Settings, pool: ComputePool) -> None:
    running = asyncio.create_task(run(pool, "sleep", ImageRange(start=300, split="done"), threads=0))
    while not pool.pids:
        await asyncio.sleep(0.01)
    waiting = asyncio.create_task(run(pool, "pid"))
    await asyncio.sleep(0)
    pool.drain()
    with pytest.raises(ShuttingDown):
        await waiting
    with pytest.raises(ShuttingDown):
        await run(pool, "pid")
    assert (await running).split == "done"
    assert (await run(pool, "echo", ImageRange(split="there is room"))).split == "there is room"


async def test_threads_are_set_even_for_a_library_imported_in_the_job(pool: ComputePool) -> None:
    pytest.importorskip("torch")
    assert await run(pool, "threads", threads=1) == ImageRange(start=1, end=1)
    assert await run(pool, "threads", threads=0) == ImageRange(start=2, end=2)
    assert await run(pool, "threads", threads=1) == ImageRange(start=1, end=1)


async def test_the_child_has_limits_and_no_secrets(pool: ComputePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_S3_SECRET_KEY", "marker-one")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "marker-two")
    monkeypatch.setenv("TESSERA_NATS_TOKEN", "marker-three")
    text = (await run(pool, "environment")).split
    assert "marker" not in text
    assert "PYTHONHASHSEED=0" in text
    assert (await run(pool, "limits")).split.startswith("core=0 nice=")
    assert (await run(pool, "limits")).split.endswith("torch=False")
