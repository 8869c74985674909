"""Who computes next: in turn, warm first, nobody overtaken for ever, nothing lost to a cancellation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.errors import Unavailable
from tessera.runtime.gate import Gate, ShuttingDown, Warmth

PASSES = 3


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(200):
        await asyncio.sleep(0)


class Jobs:
    """Jobs at a gate: each computes until told to end; ``order`` is the order in which they began."""

    def __init__(self, cores: int, places: int, warmth: Callable[[str], Warmth] | None = None) -> None:
        self.gate = Gate(cores, places, warmth) if warmth else Gate(cores, places)
        self.order: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.began: Callable[[str], None] = lambda affinity: None

    async def add(self, *names: str, cores: int = 1) -> None:
        """Have jobs come one after the other; a name up to its dot is the affinity."""
        for name in names:
            self.ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._job(name, cores))
            await settle()

    async def _job(self, name: str, cores: int) -> None:
        async with self.gate.hold(cores, name.partition(".")[0]):
            self.order.append(name)
            self.began(name.partition(".")[0])
            await self.ends[name].wait()

    async def end(self, *names: str) -> None:
        for name in names:
            self.ends[name].set()
            await settle()

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        with contextlib.suppress(asyncio.CancelledError, ShuttingDown):
            await self.tasks[name]
        await settle()


@pytest.fixture
async def holding() -> AsyncIterator[Jobs]:
    """One core, taken; "hot" is warm in the child that will be free, "busy" in one that will not."""
    known = {"hot": Warmth.IDLE, "busy": Warmth.BUSY}
    jobs = Jobs(1, 1, lambda affinity: known.get(affinity, Warmth.NONE))
    await jobs.add("first")
    yield jobs
    for name in jobs.tasks:
        await jobs.cancel(name)
    assert (jobs.gate.cores, jobs.gate.places) == (1, 1)


async def everyone(jobs: Jobs) -> list[str]:
    """End each job as soon as it has begun; the order in which all of them began."""
    ended = 0
    while ended < len(jobs.order):
        await jobs.end(jobs.order[ended])
        ended += 1
    return jobs.order[1:]


async def test_equally_warm_jobs_come_in_turn(holding: Jobs) -> None:
    await holding.add("a", "b", "c", "d")
    assert await everyone(holding) == ["a", "b", "c", "d"]


async def test_a_job_whose_child_is_free_comes_first(holding: Jobs) -> None:
    await holding.add("cold", "hot.1", "hot.2")
    assert await everyone(holding) == ["hot.1", "hot.2", "cold"]


async def test_a_job_that_is_warm_nowhere_comes_before_one_whose_child_is_busy(holding: Jobs) -> None:
    await holding.add("busy", "cold.1", "cold.2", "hot")
    assert await everyone(holding) == ["hot", "cold.1", "cold.2", "busy"]


async def test_with_a_core_free_nobody_waits_for_a_warm_child() -> None:
    jobs = Jobs(1, 1, lambda _: Warmth.BUSY)
    await jobs.add("a")
    assert jobs.order == ["a"]
    await jobs.end("a")


async def test_a_job_is_passed_three_times_at_most(holding: Jobs) -> None:
    await holding.add("busy", "cold", *(f"hot.{index}" for index in range(6)))
    began = await everyone(holding)
    assert began.index("busy") == PASSES
    assert began == ["hot.0", "hot.1", "hot.2", "busy", "cold", "hot.3", "hot.4", "hot.5"]


async def test_a_wide_job_waits_for_its_cores_and_nobody_passes_it() -> None:
    jobs = Jobs(2, 9, lambda affinity: Warmth.IDLE if affinity == "hot" else Warmth.NONE)
    await jobs.add("narrow")
    await jobs.add("wide", cores=2)
    await jobs.add("hot.1", "hot.2")
    assert jobs.order == ["narrow"]
    await jobs.end("narrow")
    assert jobs.order == ["narrow", "wide"]
    await jobs.end("wide")
    assert jobs.order == ["narrow", "wide", "hot.1", "hot.2"]
    await jobs.end("hot.1", "hot.2")
    assert (jobs.gate.cores, jobs.gate.places) == (2, 9)


async def test_a_wide_job_does_not_pass_narrow_ones_either() -> None:
    jobs = Jobs(2, 9, lambda affinity: Warmth.IDLE if affinity == "hot" else Warmth.BUSY)
    await jobs.add("all", cores=2)
    await jobs.add("narrow")
    await jobs.add("hot", cores=2)
    await jobs.end("all")
    assert jobs.order == ["all", "narrow"]
    await jobs.end("narrow", "hot")


async def test_each_choice_sees_what_the_one_before_has_taken() -> None:
    """Two places free at once: the second job of a child that is taken now is not the second choice."""
    idle = {"left", "right"}
    jobs = Jobs(2, 2, lambda affinity: Warmth.IDLE if affinity in idle else Warmth.BUSY)
    jobs.began = idle.discard
    await jobs.add("all", cores=2)
    await jobs.add("left.1", "left.2", "right.1")
    await jobs.end("all")
    assert jobs.order == ["all", "left.1", "right.1"]
    await jobs.end("left.1", "right.1", "left.2")


async def test_a_cancelled_waiter_makes_room_for_those_behind_it() -> None:
    jobs = Jobs(2, 2)
    await jobs.add("a")
    await jobs.add("wide", cores=2)
    await jobs.add("b")
    assert jobs.order == ["a"]
    await jobs.cancel("wide")
    assert jobs.order == ["a", "b"]
    await jobs.end("a", "b")
    assert (jobs.gate.cores, jobs.gate.places) == (2, 2)


async def test_a_job_cancelled_as_it_is_let_in_gives_its_core_back(holding: Jobs) -> None:
    await holding.add("next", "after")
    holding.ends["first"].set()
    while holding.gate.places or holding.gate._waiting[0].affinity == "next":  # until its turn has been given
        await asyncio.sleep(0)
    assert "next" not in holding.order
    await holding.cancel("next")
    assert holding.order == ["first", "after"]


async def test_closing_sends_away_who_waits_and_who_would_have_to(holding: Jobs) -> None:
    await holding.add("waiting")
    holding.gate.close()
    await settle()
    await holding.add("late")
    for name in ("waiting", "late"):
        assert isinstance(holding.tasks[name].exception(), ShuttingDown)
        assert isinstance(holding.tasks[name].exception(), Unavailable)
    await holding.end("first")
    await holding.add("fits")
    assert holding.order == ["first", "fits"]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.sampled_from(Warmth), st.sampled_from(["run", "end", "cancel"])), max_size=30
    )
)
def test_whatever_comes_and_goes_cores_are_kept_and_nobody_is_forgotten(
    steps: list[tuple[int, Warmth, str]],
) -> None:
    """Model check: never more cores or places than there are, no job passed more than the bound, all served."""

    async def play() -> None:
        gate = Gate(3, 2, lambda affinity: Warmth(int(affinity.partition(".")[2])))
        running: dict[int, int] = {}
        served: list[int] = []
        ends: list[asyncio.Event] = []
        tasks: list[asyncio.Task[None]] = []

        async def job(index: int, cores: int, warmth: Warmth) -> None:
            async with gate.hold(cores, f"{index}.{warmth.value}"):
                running[index] = cores
                served.append(index)
                assert sum(running.values()) <= 3
                assert len(running) <= 2
                try:
                    await ends[index].wait()
                finally:
                    del running[index]

        cancelled: set[int] = set()
        for index, (cores, warmth, then) in enumerate(steps):
            ends.append(asyncio.Event())
            tasks.append(asyncio.create_task(job(index, cores, warmth)))
            await settle()
            if then == "end" and running:
                ends[min(running)].set()
            elif then == "cancel":
                tasks[index // 2].cancel()
                cancelled.add(index // 2)
            await settle()
        while running:
            ends[min(running)].set()
            await settle()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert set(range(len(steps))) - set(served) <= cancelled
        for place, index in enumerate(served):
            before = [other for other in served[:place] if other > index]
            assert len(before) <= PASSES, (served, index)
            assert all(steps[other][0] == steps[index][0] for other in before)
        assert (gate.cores, gate.places, gate._waiting) == (3, 2, [])

    asyncio.run(play())
