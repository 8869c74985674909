"""A coordinator's desk over one large round, in a process of its own: prints seconds and memory as JSON.

``fill`` opens the round and answers nine tenths of it; ``again`` starts anew over what is stored, and closes it early.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from small_round import PARTS, small_round
from tessera.formats import schemas, tables
from tessera.formats.media import PARQUET
from tessera.pb import questions_pb2 as pb
from tessera.runtime import catalogue, topology
from tessera.runtime.events import EventLog
from tessera.runtime.messaging import Messaging, connect
from tessera.runtime.objects import ObjectStore, open_store
from tessera.runtime.people.desk import Desk
from tessera.runtime.people.questions import QuestionCalls
from tessera.runtime.records import Records
from tessera.runtime.settings import load

CALLS, TOGETHER = 200, 32
Figures = dict[str, float]


class OneRun:
    """The one run that waits."""

    def known(self, run_id: str) -> bool:
        return True

    def goes_on(self, run_id: str) -> bool:
        return True

    def show(self, run_id: str, text: str) -> None:
        pass


def memory() -> float:
    """MiB that the process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def peak() -> float:
    """MiB that the process had at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


async def large_round(store: ObjectStore, count: int) -> pb.CollectRequest:
    """A request about ``count`` regions of the query dominant, twenty in each image, as large as real ones."""
    small = await small_round(store)
    table = tables.read(schemas.QUESTIONS, await store.get(small.questions), "questions")
    rows: dict[str, Any] = {name: np.resize(column, count) for name, column in table.items()}
    ranks = np.arange(count)
    rows["rank"], rows["region_id"] = ranks.astype(np.int32), (ranks % 20).astype(np.int32)
    rows["image_id"] = [f"city/frame_{rank // 20:06d}_leftImg8bit" for rank in range(count)]
    for name in ("image", "prediction", "superpixels"):
        for part, value in zip(PARTS, ("tessera", "cas/{:064x}", "{:064x}", 2048, "image/png"), strict=True):
            made = [value.format(rank) if isinstance(value, str) else value for rank in range(count)]
            rows[f"{name}_{part}"] = made
    # A box of 32×32 whose outline takes two runs a line.
    rows["region"] = [np.array([3, *[26, 6] * 31, 26, 3], "<u4").tobytes()] * count
    for name, value in (("y0", 0), ("x0", 0), ("y1", 32), ("x1", 32), ("pixels", 26 * 32)):
        rows[name] = np.full(count, value, np.int32)
    request = small.request("dominant", overlap=1, lease_seconds=86_400)
    request.questions.CopyFrom(await store.put_content(tables.write(schemas.QUESTIONS, rows), PARQUET))
    return request


def said(rank: int) -> pb.PersonAnswer:
    return pb.PersonAnswer(
        answer_id=f"answer-{rank:08d}", classes={"classes": [rank % 3]}, seconds=2, clicks=1, page_version="page/1"
    )


async def timed(times: int, call: Any) -> tuple[float, float]:
    """Median and 95th percentile of milliseconds of one call after another."""
    found = []
    for number in range(times):
        begin = time.perf_counter()
        await call(number)
        found.append(1e3 * (time.perf_counter() - begin))
    return float(np.median(found)), float(np.percentile(found, 95))


async def calls(made: QuestionCalls, key: str, first: int) -> Figures:
    """Milliseconds of the calls that a page makes: the next of three, an answer, the counts, a page of the list."""
    leased: list[int] = []

    async def following(number: int) -> None:
        found = await made.next(pb.NextQuestionsRequest(round_key=key, annotator=f"person{first + number}", count=3))
        assert len(found.leases) == 3
        leased.extend(one.question.rank for one in found.leases)

    async def answer(number: int) -> None:
        rank = leased[3 * number]
        request = pb.AnswerQuestionRequest(
            question_id=f"{key}.{rank}", annotator=f"person{first + number}", answer=said(rank)
        )
        assert (await made.answer(request)).outcome == pb.ANSWER_OUTCOME_COUNTED

    async def progress(_: int) -> None:
        await made.progress(pb.GetProgressRequest(round_key=key))

    async def listed(number: int) -> None:
        token = str(number * 100)
        found = await made.questions(pb.ListQuestionsRequest(round_key=key, page_size=100, page_token=token))
        assert len(found.questions) == 100

    figures = Figures()
    for name, call, times in (("next", following, CALLS), ("answer", answer, CALLS), ("progress", progress, CALLS),
                              ("list", listed, 20)):  # fmt: skip
        figures[f"{name}_median_ms"], figures[f"{name}_p95_ms"] = await timed(times, call)
    return figures


async def fill(messaging: Messaging, store: ObjectStore, desk: Desk, count: int) -> dict[str, Any]:
    """Open the round, and answer most of it."""
    made, before = QuestionCalls(desk), memory()
    request = await large_round(store, count)
    key = catalogue.job_key("Collect", request)
    begin = time.perf_counter()
    await desk.open("run", 0, key, request)
    figures: dict[str, Any] = {"open_s": time.perf_counter() - begin, "calls_at_start": await calls(made, key, 0)}
    ranks = iter(range(CALLS * 3, count * 9 // 10))
    begin = time.perf_counter()

    async def person(name: str) -> None:
        for rank in ranks:
            await made.answer(pb.AnswerQuestionRequest(question_id=f"{key}.{rank}", annotator=name, answer=said(rank)))

    await asyncio.gather(*(person(f"typist{number}") for number in range(TOGETHER)))
    figures["answers_per_s"] = (count * 9 // 10 - CALLS * 3) / (time.perf_counter() - begin)
    figures["calls_at_nine_tenths"] = await calls(made, key, CALLS)
    return {**figures, "round_mib": memory() - before, "peak_mib": peak()}


async def again(messaging: Messaging, store: ObjectStore, desk: Desk, loaded: tuple[float, float]) -> dict[str, Any]:
    """Go on after a restart: hand out questions, then close the round early."""
    made, key = QuestionCalls(desk), next(iter(desk.rounds))
    begin = time.perf_counter()
    await made.next(pb.NextQuestionsRequest(round_key=key, annotator="somebody", count=3))
    figures: dict[str, Any] = {"restart_s": loaded[0], "restart_cpu_s": loaded[1]}
    figures["first_next_s"] = time.perf_counter() - begin
    figures["calls"], figures["restarted_mib"] = await calls(made, key, 2 * CALLS), memory()
    slowest, begin, busy = 0.0, time.perf_counter(), time.process_time()
    told = await made.close(pb.CloseRoundRequest(round_key=key, reason="enough"))
    figures["close_call_s"] = time.perf_counter() - begin
    while told.round.state != pb.ROUND_STATE_CLOSED:
        # Whoever else asks meanwhile does not wait for it.
        asked = time.perf_counter()
        found = await made.progress(pb.GetProgressRequest(round_key=key))
        slowest = max(slowest, time.perf_counter() - asked)
        told = pb.CloseRoundResponse(round=found.round, progress=found.progress)
        await asyncio.sleep(0.05)
    figures |= {"close_s": time.perf_counter() - begin, "close_cpu_s": time.process_time() - busy}
    figures["slowest_call_while_closing_s"] = slowest
    return {**figures, "answered": told.progress.answered, "peak_mib": peak(), "closed_mib": memory()}


async def main(kind: str, url: str, folder: str, count: int) -> None:
    settings = load(nats_url=url, store=(Path(folder) / "store").as_uri(), fsync=False)
    messaging = await connect(url, name="desk")
    try:
        await topology.ensure(messaging, settings, [])
        store = open_store(settings.store, settings)
        log = EventLog(messaging, store)
        desk = Desk(messaging, store, Records.of(messaging, store, settings), log, OneRun())
        begin, busy = time.perf_counter(), time.process_time()
        position = await desk.load()
        loaded = time.perf_counter() - begin, time.process_time() - busy
        task = asyncio.create_task(desk.run(position))
        try:
            more = fill(messaging, store, desk, count) if kind == "fill" else again(messaging, store, desk, loaded)
            print(json.dumps(await more))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    finally:
        await messaging.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
