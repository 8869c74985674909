"""Compute children that crash, hang, use up memory, print without end or lose their parent."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from tessera.errors import ChildCrashed, ChildTimedOut, OutOfMemory, TesseraError
from tessera.pb.common_pb2 import ImageRange
from tessera.runtime import memory
from tessera.runtime.pool import ComputePool
from tessera.runtime.settings import Settings, load

pytestmark = pytest.mark.faults


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(
        cores=2, cache_dir=tmp_path, scratch_dir=tmp_path, store=tmp_path.as_uri(), child_memory_bytes=400 << 20
    )


@pytest_asyncio.fixture
async def pool(settings: Settings, child_functions: str) -> AsyncIterator[ComputePool]:
    made = ComputePool(1, settings)
    yield made
    await made.close()


async def run(pool: ComputePool, name: str, start: int = 0, limit: float = 30) -> ImageRange:
    result = await pool.run(f"child_functions:{name}", ImageRange(start=start), ImageRange, {}, timeout=limit)
    result.discard()
    return result.response


async def test_every_poison_is_named_and_the_next_job_runs(pool: ComputePool) -> None:
    poisons: list[tuple[str, int, type[TesseraError], str]] = [
        ("segfault", 0, ChildCrashed, r"crashed with SIGSEGV \(about to dereference nothing\)"),
        ("abort", 0, ChildCrashed, "crashed with SIGABRT"),
        ("leave", 3, ChildCrashed, "exited with status 3"),
        ("leave", 0, ChildCrashed, "exited with status 0"),
        ("leave", 137, OutOfMemory, "killed, most likely by the kernel for its memory"),
        ("system_exit", 0, ChildCrashed, "exited with status 1"),
        ("kill", 0, OutOfMemory, "killed, most likely by the kernel for its memory"),
        ("spin", 0, ChildTimedOut, r"stopped after its limit of 0\.7 s"),
        ("allocate", 600, OutOfMemory, r"used 4\d\d MiB, more than 400 MiB \(TESSERA_CHILD_MEMORY_BYTES\)"),
    ]
    for name, start, kind, message in poisons:
        with pytest.raises(kind, match=f"child_functions:{name}: .*{message}") as caught:
            await run(pool, name, start, limit=0.7 if name == "spin" else 30)
        assert type(caught.value) is kind
        assert "\n" not in str(caught.value)
        assert (await run(pool, "echo", 7)).start == 7
        assert len(pool.pids) == 1


async def test_reasons_of_the_poison_kinds_differ(pool: ComputePool) -> None:
    reasons = set()
    for name in ("segfault", "kill", "spin"):
        with pytest.raises(TesseraError) as caught:
            await run(pool, name, limit=0.5 if name == "spin" else 30)
        reasons.add(caught.value.reason)
    assert reasons == {"crashed", "out_of_memory", "timed_out"}


async def test_one_large_allocation_is_refused_by_the_address_limit(tmp_path: Path, child_functions: str) -> None:
    pool = ComputePool(1, load(cores=1, cache_dir=tmp_path, child_address_bytes=1 << 30))
    try:
        first = (await run(pool, "pid")).start
        with pytest.raises(OutOfMemory, match="allocate_at_once: out of memory"):
            await run(pool, "allocate_at_once", 2048)
        assert (await run(pool, "pid")).start != first, "a child that ran out of memory is replaced"
    finally:
        await pool.close()


async def test_compute_has_a_memory_limit_by_default(
    tmp_path: Path, child_functions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tessera.runtime.memory.default_limit", lambda: 500 << 20)
    made = ComputePool(1, load(cores=1, cache_dir=tmp_path, scratch_dir=tmp_path, store=tmp_path.as_uri()))
    try:
        with pytest.raises(OutOfMemory, match=r"allocate: used \d+ MiB, .* more than 500 MiB; .*COMPUTE_MEMORY_BYTES"):
            await run(made, "allocate", 900)
        assert (await run(made, "echo", 7)).start == 7
    finally:
        await made.close()


async def test_the_largest_of_the_children_that_compute_is_stopped_and_idle_ones_go_first(
    tmp_path: Path, child_functions: str
) -> None:
    chosen = load(
        cores=3, cache_dir=tmp_path, scratch_dir=tmp_path, store=tmp_path.as_uri(), compute_memory_bytes=700 << 20
    )
    made = ComputePool(3, chosen)
    try:
        # Three children that are warm and hold nothing.
        await asyncio.gather(*(run(made, "sleep", 300) for _ in range(3)))
        idle = set(made.pids)
        small = asyncio.create_task(run(made, "hold", 150))
        large = asyncio.create_task(run(made, "allocate", 1500))
        with pytest.raises(OutOfMemory, match=r"allocate: used .* the most of compute that uses"):
            await large
        assert (await small).start == 150
        assert len(idle & set(made.pids)) <= 2, "the idle child was not asked to go first"
    finally:
        await made.close()


def test_memory_of_mapped_files_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "mapped"
    path.write_bytes(os.urandom(64 << 20))
    program = (
        "import mmap, sys, time\n"
        "with open(sys.argv[1]) as file:\n"
        "    view = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\n"
        "sum(view[::4096])\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        resident = psutil.Process(process.pid).memory_info().rss
        assert resident > 64 << 20
        assert memory.used(process.pid) < resident - (60 << 20)
        process.kill()
    assert memory.used(process.pid) == 0


def test_the_default_limit_is_a_share_of_the_smallest_limit(tmp_path: Path) -> None:
    total = psutil.virtual_memory().total
    own, root = tmp_path / "cgroup", tmp_path / "fs"
    own.write_text("0::/pods/one\n")
    assert memory.default_limit(root, own) == int(0.8 * total)
    (root / "pods" / "one").mkdir(parents=True)
    (root / "pods" / "memory.max").write_text(f"{1 << 30}\n")
    (root / "pods" / "one" / "memory.max").write_text("max\n")
    assert memory.default_limit(root, own) == int(0.8 * (1 << 30))
    # Version 1, seen from inside a container: only its own root is there.
    own.write_text("7:cpu:/x\n5:memory:/docker/abc\n")
    (root / "memory").mkdir()
    (root / "memory" / "memory.limit_in_bytes").write_text(str(512 << 20))
    assert memory.default_limit(root, own) == int(0.8 * (512 << 20))
    (root / "memory" / "memory.limit_in_bytes").write_text(str(2**63 - 4096))
    assert memory.default_limit(root, own) == int(0.8 * total)


async def test_compute_is_what_the_kernel_ends_first(pool: ComputePool) -> None:
    await run(pool, "echo")
    assert oom_score(pool.pids[0]) == 500


def oom_score(pid: int) -> int:
    adjusted = Path(f"/proc/{pid}/oom_score_adj")
    if not adjusted.exists():
        pytest.skip("only Linux has it")
    return int(adjusted.read_text())


async def test_noise_on_stdout_and_stderr_does_not_touch_the_channel(pool: ComputePool) -> None:
    for number in range(3):
        assert (await run(pool, "noise", number)).start == number
    assert len(pool.pids) == 1


async def test_a_child_that_talks_nonsense_is_replaced(pool: ComputePool) -> None:
    first = (await run(pool, "pid")).start
    for nonsense in (0, 1, 2):
        with pytest.raises(ChildCrashed, match="child_functions:babble"):
            await run(pool, "babble", nonsense)
        assert (await run(pool, "echo", 7)).start == 7
    assert (await run(pool, "pid")).start != first


async def test_poison_leaves_no_descriptor_and_no_process_behind(pool: ComputePool) -> None:
    me = psutil.Process()
    await run(pool, "echo")
    before = me.num_fds()
    for _ in range(5):
        with pytest.raises(OutOfMemory):
            await run(pool, "kill")
        await run(pool, "echo")
    assert me.num_fds() <= before
    assert [child.pid for child in me.children(recursive=True) if child.pid in pool.pids] == pool.pids
    assert not [child for child in me.children() if child.status() == psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("function", ["sleep", "leave"])
async def test_cancelling_at_any_moment_leaves_nothing_open(
    settings: Settings, child_functions: str, function: str
) -> None:
    """Also when what ends the child is cancelled."""
    me = psutil.Process()
    before = me.num_fds()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for turns in (1, 3, 40):
            for times in (1, 2, 100):
                made = ComputePool(1, settings)
                job = asyncio.create_task(run(made, function, 60_000))
                await turn(turns)
                await cancel(job, times)
                closing = asyncio.create_task(made.close())
                await asyncio.sleep(0)
                await cancel(closing, times)
        await turn(5)
        gc.collect()
    assert [str(each.message) for each in said if issubclass(each.category, ResourceWarning)] == []
    assert me.num_fds() <= before  # fewer where an earlier test's were collected meanwhile
    assert not [child for child in me.children() if child.status() == psutil.STATUS_ZOMBIE]


async def turn(turns: int) -> None:
    """Let the event loop go round: short moments, as a process needs some to start."""
    for _ in range(turns):
        await asyncio.sleep(0.005)


async def cancel(task: asyncio.Task[Any], times: int) -> None:
    """Cancel a task, and cancel it again while it cleans up."""
    while not task.done():
        if times:
            task.cancel()
            times -= 1
        await asyncio.sleep(0)


@pytest.mark.parametrize("fails", ["pipe", "socketpair", "Popen", "open_connection"])
async def test_a_start_that_fails_leaves_nothing_open(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    me, made = psutil.Process(), ComputePool(1, settings)
    before = me.num_fds()
    owner = {"pipe": os, "socketpair": socket, "Popen": subprocess, "open_connection": asyncio}[fails]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with monkeypatch.context() as patch:
            patch.setattr(owner, fails, refuse)
            with pytest.raises(OSError, match="too many open files"):
                await run(made, "echo")
        await made.close()
        gc.collect()
    assert [str(each.message) for each in said if issubclass(each.category, ResourceWarning)] == []
    assert me.num_fds() <= before
    assert not [child for child in me.children() if child.status() == psutil.STATUS_ZOMBIE]


async def test_a_child_that_cannot_start_says_why(
    pool: ComputePool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "psutil.py").write_text("")
    (broken / "google.py").write_text("raise RuntimeError('this installation is broken')")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    with pytest.raises(ChildCrashed, match=r"exited with status 1 .*this installation is broken"):
        await run(pool, "echo")


_PARENT = """
import asyncio, sys
from tessera.pb.common_pb2 import ImageRange
from tessera.runtime import memory
from tessera.runtime.pool import ComputePool
from tessera.runtime.settings import load

async def main():
    pool = ComputePool(1, load(cores=1))
    job = asyncio.create_task(pool.run("child_functions:" + sys.argv[1], ImageRange(start=600000), ImageRange, {}))
    while not pool.pids:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    print(pool.pids[0], flush=True)
    await job

asyncio.run(main())
"""


@pytest.mark.parametrize("function", ["spin", "sleep"])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_the_child_ends_with_its_parent(function: str, sent: signal.Signals, child_functions: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, function], stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.send_signal(sent)
        parent.wait(timeout=10)
    end = time.monotonic() + 5
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end, "the child outlived its parent"
        time.sleep(0.02)


async def test_other_jobs_go_on_while_one_child_crashes(settings: Settings, child_functions: str) -> None:
    pool = ComputePool(2, settings)
    try:
        poison = [run(pool, name) for name in ("segfault", "kill", "abort")]
        good = [run(pool, "sleep", number) for number in range(20)]
        results = await asyncio.gather(*poison, *good, return_exceptions=True)
    finally:
        await pool.close()
    assert [type(result) for result in results[:3]] == [ChildCrashed, OutOfMemory, ChildCrashed]
    assert [result.start for result in results[3:] if isinstance(result, ImageRange)] == list(range(20))
