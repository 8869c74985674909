"""Rounds of questions: opened by the driver, answered through QuestionsService, closed into the result of step collect.

The state of every question is an entry of the bucket ``questions``, written under the revision at which it was decided,
so that any number of coordinators hand out questions without two people holding the same one. Every answer is an object
of its own, stored before the entry that counts it: where NATS is lost, the entries are made again from the answers. A
round is closed in three steps: its entry says ``closing``, then the answers are read and committed as the record of the
step's job, then its entry says ``closed``. Whoever counts an answer reads the entry of the round afterwards: an answer
that was acknowledged while the round was open is in the result.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Protocol

from tessera.errors import BadInput, Conflict, TesseraError, Unavailable
from tessera.formats import manifests, questions, schemas, tables
from tessera.loop import people, rounds
from tessera.loop.rounds import Asked
from tessera.pb import questions_pb2 as pb
from tessera.pb.jobs_pb2 import JobRecord
from tessera.queries.given import check
from tessera.runtime import failpoints, topology
from tessera.runtime.events import EventLog, JobProgress
from tessera.runtime.messaging import Messaging
from tessera.runtime.objects import ObjectStore
from tessera.runtime.people import clock, kept_rounds
from tessera.runtime.people.answers import StoredAnswers, reply_of
from tessera.runtime.people.round import Round, RoundHead
from tessera.runtime.records import Records
from tessera.runtime.seldom import Seldom

_log = logging.getLogger(__name__)
_STREAM: Final = f"KV_{topology.QUESTIONS}"
_SUBJECT: Final = f"$KV.{topology.QUESTIONS}."
_TICK_SECONDS: Final = 0.25
_TOGETHER: Final = 64


class KnownRuns(Protocol):
    """The runs that a coordinator knows."""

    def known(self, run_id: str) -> bool:
        """Return whether there is such a run."""
        ...

    def goes_on(self, run_id: str) -> bool:
        """Return whether the run is neither over nor stopped."""
        ...

    def show(self, run_id: str, text: str) -> None:
        """Say in the run's picture what it waits for."""
        ...


class Desk:
    """All rounds that this process knows; ``run`` never returns."""

    def __init__(
        self,
        messaging: Messaging,
        store: ObjectStore,
        records: Records,
        log: EventLog,
        runs: KnownRuns,
        worker: str = "",
    ) -> None:
        self._messaging, self._store, self._records = messaging, store, records
        self._log, self.runs, self._worker = log, runs, worker
        self.answers = StoredAnswers(store)
        self.rounds: dict[str, Round] = {}
        self._seldom = Seldom(_log)
        self._told: dict[str, str] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}

    async def load(self) -> int:
        """Read every round; returns a sequence from which following the bucket misses nothing."""
        position = await self._messaging.position(_STREAM)
        await self._read(f"{_SUBJECT}>")
        return position + 1

    async def run(self, from_sequence: int) -> None:
        """Follow the bucket and close rounds that are done, for ever."""
        tasks = [asyncio.create_task(one) for one in (self._follow(from_sequence), self._tick())]
        try:
            for done in (await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))[0]:
                done.result()
        finally:
            # More than once: the NATS client swallows a cancellation that meets it while it writes.
            while left := [one for one in (*tasks, *self._closing.values()) if not one.done()]:
                for one in left:
                    one.cancel()
                await asyncio.wait(left, timeout=1.0)

    async def open(self, run_id: str, round_: int, key: str, request: pb.CollectRequest) -> None:
        """Open a round for a run, or tell the run its result; idempotent."""
        found = self.rounds.get(key)
        if found is None or found.head is None or run_id not in found.head.runs or found.head.state == "closed":
            record = await self._records.find(people.COLLECT, key, algorithm=people.ALGORITHM)
            if record is not None:
                await self._log.job_done(run_id, record)
                return
            try:
                await self._open(run_id, round_, key, request)
            except Conflict:
                raise Unavailable(f"round {key}: another coordinator opened it; reading it") from None
        await self._tell(self.rounds[key])

    async def _open(self, run_id: str, round_: int, key: str, request: pb.CollectRequest) -> None:
        found = self.rounds.setdefault(key, Round(key))
        async with found.lock:
            entry = await self._messaging.kv_get(topology.QUESTIONS, key)
            if entry is not None:
                self._take_head(found, entry.value, entry.revision)
            elif found.revision:
                # Given up with its runs, by `tessera gc`.
                found.forget()
                found.head, found.revision = None, 0
            head = found.head if found.revision else None
            if head is None:
                table = await self._table(request)
                head = RoundHead(request, round_, len(table["rank"]), clock.now())
                await self._recover(found, head, table)
            elif head.state == "closed":
                # Its record is lost: the answers are all there.
                head = replace(head, state="closing", response=None)
                await self._recover(found, head, await self._table(request))
            if run_id not in head.runs or head is not found.head:
                await kept_rounds.remember(self._store, key, run_id, request)
                await self._write(found, replace(head, runs=tuple(dict.fromkeys((*head.runs, run_id)))))
                _log.info("a round waits for people", extra={"run": run_id, "round": round_, "key": key})

    async def _write(self, found: Round, head: RoundHead) -> None:
        """Write a round's entry over the one that was read; Conflict when somebody else was faster."""
        if found.revision:
            revision = await self._messaging.kv_update(topology.QUESTIONS, found.key, head.to_json(), found.revision)
        else:
            revision = await self._messaging.kv_create(topology.QUESTIONS, found.key, head.to_json())
        found.head, found.revision = head, revision

    async def _recover(self, found: Round, head: RoundHead, table: Any) -> None:
        """Make the states of a round's questions from stored answers: of a round that NATS has lost, or of nothing."""
        found.forget()
        found.head = head
        found.take_table(table)
        asked = await self.answers.states(found)
        room = asyncio.Semaphore(_TOGETHER)

        async def one(rank: int) -> None:
            async with room:
                judged = await self.answers.judge(found, rank, asked[rank])
                name = f"{found.key}.{rank}"
                found.put(rank, judged, await self._messaging.kv_put(topology.QUESTIONS, name, rounds.to_json(judged)))

        await asyncio.gather(*(one(rank) for rank in sorted(asked)))
        if asked:
            _log.warning("a round's answers were found in the store", extra={"key": found.key, "questions": len(asked)})

    async def _table(self, request: pb.CollectRequest) -> dict[str, Any]:
        data = await self._store.get(request.questions)
        return await asyncio.to_thread(tables.read, schemas.QUESTIONS, data, "questions")

    async def ready(self, key: str) -> Round:
        """Return a round with its questions and classes; BadInput for one that nobody opened."""
        found = await self.described(key)
        if found.table is None:
            found.take_table(await self._table(found.known.request))
        return found

    async def described(self, key: str) -> Round:
        """Return a round with its classes, but not its questions; BadInput for one that nobody opened."""
        found = self.rounds.get(key)
        if found is None or found.head is None or not any(self.runs.known(one) for one in found.head.runs):
            raise BadInput(f"round {key[:80]!a}: unknown; ListRounds names the rounds")
        if found.dataset is None:
            data = await self._store.get(found.head.request.manifest)
            # Without its images: rounds are many.
            found.dataset = replace(await asyncio.to_thread(manifests.dataset_from_json, data), splits={})
        return found

    def paused(self, found: Round) -> bool:
        """Return whether none of the runs that wait for the round goes on."""
        return not any(self.runs.goes_on(run_id) for run_id in found.known.runs)

    async def change(self, found: Round, rank: int, decide: Callable[[Asked], Asked]) -> Asked:
        """Change one question; ``decide`` is asked again where another process was faster."""
        while True:
            before = found.asked.get(rank, Asked())
            after = decide(before)
            if after == before:
                return after
            name, data = f"{found.key}.{rank}", rounds.to_json(after)
            try:
                if revision := found.revisions.get(rank, 0):
                    revision = await self._messaging.kv_update(topology.QUESTIONS, name, data, revision)
                else:
                    revision = await self._messaging.kv_create(topology.QUESTIONS, name, data)
            except Conflict:
                entry = await self._messaging.kv_get(topology.QUESTIONS, name)
                if entry is None:
                    # Purged: the round was closed meanwhile.
                    raise Unavailable(f"question {name}: its round is being closed; send the call again") from None
                found.put(rank, rounds.from_json(entry.value), entry.revision)
                continue
            found.put(rank, after, revision)
            return after

    async def reply(self, id_: str, annotator: str, answer: pb.PersonAnswer, *, correct: bool = False) -> str:
        """Store an answer or a skip, then count it; returns counted, not_needed, late or replaced.

        BadInput: an answer that does not fit the question, an id that another answer has. Unavailable while the round
        is being closed.
        """
        key, rank = questions.place(id_)
        questions.check_annotator(annotator)
        questions.check_answer(answer)
        found = await self.ready(key)
        question = found.question(rank)
        self._check(found, question, answer)
        if correct and found.asked.get(rank, Asked()).reply_of(annotator) is None and found.known.state == "open":
            # Before it is stored: what is in the store counts where the states of questions are made anew.
            raise BadInput(f"question {id_}: {annotator} has not answered it; there is nothing to correct")
        at = await self.answers.keep(question, annotator, answer)
        failpoints.reached("answer_stored")
        if found.known.state == "closed":
            return await self._late(found, answer.answer_id)
        told = [""]

        def decide(asked: Asked) -> Asked:
            after, told[0] = rounds.replied(asked, reply_of(annotator, at, answer), found.params)
            return after

        asked = await self.change(found, rank, decide)
        if found.params.overlap > 1 and len(asked.answers) > 1:
            judged = await self.answers.judge(found, rank, asked)
            await self.change(
                found, rank, lambda one: replace(one, agreement=judged.agreement, disputed=judged.disputed)
            )
        failpoints.reached("answer_counted")
        await self._still_open(found)
        return told[0]

    def _check(self, found: Round, question: pb.PersonQuestion, answer: pb.PersonAnswer) -> None:
        if answer.WhichOneof("content") == "skipped":
            if not 0 < len(answer.skipped.strip()) <= 500:
                raise BadInput("reason: give one sentence of at most 500 characters")
            return
        assert found.dataset is not None  # noqa: S101  # the round is ready
        query = found.known.request.query.name
        said = questions.given(answer, query, question.box)
        check(said, query, len(found.dataset.classes), found.dataset.ignore_index, len(question.points))

    async def _still_open(self, found: Round) -> None:
        """Raise Unavailable unless the round is open now: an answer counted before this is in its result."""
        entry = await self._messaging.kv_get(topology.QUESTIONS, found.key)
        if entry is not None:
            self._take_head(found, entry.value, entry.revision)
        if found.known.state != "open":
            raise Unavailable(f"round {found.key}: is being closed; send the answer again")

    async def _late(self, found: Round, answer_id: str) -> str:
        """Return what became of an answer to a round that is closed."""
        response = found.known.response
        found.release()
        if found.final is None and response is not None:
            table = tables.read(schemas.ANSWERS, await self._store.get(response.answers), "answers", ["answer_id"])
            found.final = {str(one): row for row, one in enumerate(table["answer_id"])}
        return "counted" if answer_id in (found.final or {}) else "late"

    async def close(self, found: Round, reason: str, note: str = "", patience: float | None = None) -> None:
        """End a round with the answers that it has; nothing happens where it is being closed already.

        Returns when the round is closed, or after ``patience`` seconds: to put many answers together takes minutes.
        """
        task = self._closing.get(found.key)
        if task is None:
            task = self._closing[found.key] = asyncio.create_task(self._close(found, reason, note), name="closing")
            task.add_done_callback(lambda done: self._closed(found.key, done))
        done, _ = await asyncio.wait({task}, timeout=patience)
        for one in done:
            one.result()

    def _closed(self, key: str, task: asyncio.Task[None]) -> None:
        del self._closing[key]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, TesseraError):
            self._seldom.warning("a round cannot be closed", key, error=str(error))
        elif error is not None:
            self._seldom.warning("a round cannot be closed", key, error=repr(error))

    async def _close(self, found: Round, reason: str, note: str) -> None:
        async with found.lock:
            if found.known.state == "open":
                try:
                    await self._write(found, replace(found.known, state="closing", reason=reason, note=note[:500]))
                except Conflict:
                    entry = await self._messaging.kv_get(topology.QUESTIONS, found.key)
                    if entry is not None:
                        self._take_head(found, entry.value, entry.revision)
                    return
            if found.known.state == "closing":
                failpoints.reached("closing")
                await self._finish(found)

    async def _finish(self, found: Round) -> None:
        """Commit the answers of a closing round and tell its runs; any number of processes may."""
        # From the server: what other processes counted before the round was closing is in it.
        await self._read(f"{_SUBJECT}{found.key}.*")
        await self.ready(found.key)
        if found.known.state != "closing":
            return  # by another process, meanwhile
        response = await self.answers.result(found)
        record = JobRecord(
            job_key=found.key,
            method=people.COLLECT,
            algorithm=people.ALGORITHM,
            response=response.SerializeToString(deterministic=True),
            worker=self._worker,
            attempt=1,
        )
        winner = await self._records.commit(record)
        failpoints.reached("collected")
        for run_id in found.known.runs:
            await self._log.job_done(run_id, winner)
        made = pb.CollectResponse.FromString(winner.response)
        await self._write(found, replace(found.known, state="closed", response=made))
        await self._messaging.purge(_STREAM, f"{_SUBJECT}{found.key}.*", found.revision)
        found.release()
        _log.info("a round is closed", extra={"key": found.key, "answered": made.answered, "reason": made.reason})

    async def _follow(self, from_sequence: int) -> None:
        async for batch in self._messaging.batches(_STREAM, f"{_SUBJECT}>", from_sequence, follow=True):
            for stored in batch:
                self._take(stored.subject, stored.data, stored.sequence)

    async def _read(self, subject: str) -> None:
        async for batch in self._messaging.batches(_STREAM, subject):
            for stored in batch:
                self._take(stored.subject, stored.data, stored.sequence)

    def _take(self, subject: str, data: bytes, revision: int) -> None:
        key, _, rank = subject.removeprefix(_SUBJECT).partition(".")
        if len(key) != 64 or not data:
            return
        found = self.rounds.setdefault(key, Round(key))
        try:
            if not rank:
                self._take_head(found, data, revision)
            elif rank.isdecimal() and revision > found.revisions.get(int(rank), 0):
                found.put(int(rank), rounds.from_json(data), revision)
        except (ValueError, KeyError, TypeError, BadInput):
            _log.error("an entry of the questions is unreadable", extra={"subject": subject})

    def _take_head(self, found: Round, data: bytes, revision: int) -> None:
        if revision > found.revision:
            found.lead(RoundHead.from_json(data), revision)

    async def _tick(self) -> None:
        """Close the rounds that are done; go on with those whose closing was interrupted."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            for found in list(self.rounds.values()):
                if found.head is None or found.head.state == "closed":
                    continue
                try:
                    await self._look(found)
                except TesseraError as error:
                    self._seldom.warning("a round cannot be closed", found.key, error=str(error))

    async def _look(self, found: Round) -> None:
        head, now = found.known, clock.now()
        await self._tell(found)
        if head.state == "closing":
            await self.close(found, head.reason, patience=0)
            return
        if head.questions and not found.settled() and head.request.HasField("budget") and found.tally.answers:
            await self.ready(found.key)
        spent = found.tally.answers > 0 and not found.settled() and found.is_spent() and not found.waiting.leased(now)
        if (spent or found.settled()) and now - found.tally.last >= found.params.undo_seconds:
            await self.close(found, "spent" if spent else "settled", patience=0)

    async def _tell(self, found: Round) -> None:
        """Show in the runs that wait how far the round is."""
        head, tally = found.known, found.tally
        if head.state != "open":
            return
        text = f"waiting for people: {tally.answered + tally.skipped} of {head.questions} questions settled"
        for run_id in head.runs:
            self.runs.show(run_id, text)
        if self._told.get(found.key) != text:
            self._told[found.key] = text
            fraction = (tally.answered + tally.skipped) / max(head.questions, 1)
            for run_id in head.runs:
                await self._log.tell_progress(run_id, JobProgress(found.key, people.COLLECT, fraction, text))
