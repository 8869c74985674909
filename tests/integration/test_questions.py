"""The desk and its calls against real servers: leases, overlaps, corrections, early ends, several coordinators."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from integration.desk import WAIT_SECONDS, bench
from tessera.errors import BadInput
from tessera.pb import questions_pb2 as pb
from tessera.queries.given import Given, raster_to_runs, resolved, runs_to_raster
from tessera.runtime import topology


async def test_a_round_is_leased_answered_and_collected(nats_url: str, tmp_path: Path) -> None:
    async with bench(nats_url, tmp_path) as made:
        assert (await made.calls.list(pb.ListRoundsRequest())).rounds == []
        assert (await made.next("ann")).wait == pb.NEXT_WAIT_NO_ROUND
        await made.open(made.small.request())
        first, second = await made.next("ann", 3), await made.next("bob", 3)
        assert [one.question.rank for one in first.leases] == [0, 1, 2]
        assert [one.question.rank for one in second.leases] == [3, 4, 5]
        assert [one.name for one in first.round.classes] == ["class 0", "class 1", "class 2"]
        assert first.round.classes[2].color == "#020406"
        # A page that is loaded again gets the same questions.
        assert [one.question for one in (await made.next("ann", 3)).leases] == [one.question for one in first.leases]
        last = await made.next("eve", 3)
        assert ([one.question.rank for one in last.leases], last.wait) == ([6, 7], pb.NEXT_WAIT_HELD)
        for who, leases in (("ann", first), ("bob", second), ("eve", last)):
            for lease in leases.leases:
                assert await made.give(who, lease.question.question_id) == pb.ANSWER_OUTCOME_COUNTED
        response, said = await made.result()
        assert (response.questions, response.answered, response.left, response.reason) == (8, 8, 0, "settled")
        assert said["rank"].tolist() == list(range(8))
        assert said["annotator"].tolist() == ["ann"] * 3 + ["bob"] * 3 + ["eve"] * 2
        assert said["seconds"].tolist() == [3.0] * 8
        assert any("of 8 questions settled" in one for one in made.runs.shown)


async def test_the_same_answer_counts_once_and_a_correction_replaces_it(nats_url: str, tmp_path: Path) -> None:
    async with bench(nats_url, tmp_path) as made:
        # Long enough for any machine: the round is closed by a call.
        key = await made.open(made.small.request(undo_seconds=3600))
        for rank in range(8):
            for _ in range(2):
                assert await made.give("ann", f"{key}.{rank}", f"answer-{rank}") == pb.ANSWER_OUTCOME_COUNTED
        assert (await made.progress()).answers == 8
        # The last answer can still be undone.
        question = (await made.calls.questions(pb.ListQuestionsRequest(run_id="run"))).questions[7].question
        said = pb.PersonAnswer(answer_id="correction", seconds=4, clicks=5, page_version="page/2")
        said.raster.values.append(255)
        said.raster.lengths.append(16)
        asked = pb.CorrectAnswerRequest(question_id=question.question_id, annotator="ann", answer=said)
        assert (await made.calls.correct(asked)).outcome == pb.ANSWER_OUTCOME_COUNTED
        assert await made.give("ann", f"{key}.7", "answer-7") == pb.ANSWER_OUTCOME_REPLACED
        with pytest.raises(BadInput, match="bob has not answered it"):
            await made.calls.correct(pb.CorrectAnswerRequest(question_id=f"{key}.7", annotator="bob", answer=said))
        answers = [one for one in await made.store.list("answers/") if "/runs/" not in one]
        assert len(answers) == 9
        with pytest.raises(BadInput, match="names another answer already"):
            await made.say("bob", question.question_id, said)
        assert (await made.progress()).answered == 8
        await made.calls.close(pb.CloseRoundRequest(run_id="run"))
        response, rows = await made.result()
        assert response.answered == 8
        assert rows["answer_id"].tolist() == [f"answer-{rank}" for rank in range(7)] + ["correction"]
        assert (rows["seconds"][7], rows["clicks"][7], rows["page_version"][7]) == (7.0, 7, "page/2")
        # After the end: what counted is still told so, what did not is not.
        assert await made.say("ann", question.question_id, said) == pb.ANSWER_OUTCOME_COUNTED
        late = pb.PersonAnswer(answer_id="too-late-", raster=said.raster)
        assert await made.say("bob", question.question_id, late) == pb.ANSWER_OUTCOME_LATE


async def test_two_coordinators_never_lend_a_question_twice(nats_url: str, tmp_path: Path) -> None:
    async with bench(nats_url, tmp_path) as one, bench(nats_url, tmp_path) as other:
        key = await one.open(one.small.request())
        async with asyncio.timeout(WAIT_SECONDS):
            while key not in other.desk.rounds:
                await asyncio.sleep(0.02)
        async with asyncio.timeout(WAIT_SECONDS):
            asked = [(one if who % 2 else other).next(f"who{who}", 2) for who in range(8)]
            found = await asyncio.gather(*asked)
        lent = [lease.question.rank for response in found for lease in response.leases]
        assert sorted(lent) == list(range(8))
        # Whichever coordinator takes the answers, the round ends once and has each of them.
        given = [
            (other if who % 2 else one).give(f"who{who}", lease.question.question_id)
            for who, response in enumerate(found)
            for lease in response.leases
        ]
        assert set(await asyncio.gather(*given)) == {pb.ANSWER_OUTCOME_COUNTED}
        response, said = await one.result()
        assert response.answered == 8
        assert sorted(said["rank"].tolist()) == list(range(8))


async def test_an_overlap_asks_two_and_a_third_where_they_differ(nats_url: str, tmp_path: Path) -> None:
    async with bench(nats_url, tmp_path) as made:
        request = made.small.request("dominant", overlap=2)
        key = await made.open(request)
        both = [await made.next(who, 8) for who in ("ann", "bob")]
        assert [[one.question.rank for one in response.leases] for response in both] == [list(range(8))] * 2
        assert (await made.next("eve")).wait == pb.NEXT_WAIT_HELD
        for rank in range(8):
            for who, label in (("ann", 0), ("bob", 1 if rank == 5 else 0)):
                said = pb.PersonAnswer(answer_id=f"{who}-answer-{rank}", classes={"classes": [label]})
                assert await made.say(who, f"{key}.{rank}", said) == pb.ANSWER_OUTCOME_COUNTED
        told = await made.progress()
        assert (told.answered, told.answers, told.disputed) == (7, 16, 1)
        assert told.agreement == pytest.approx(7 / 8)
        assert (await made.next("ann")).wait == pb.NEXT_WAIT_OTHERS
        third = await made.next("eve")
        assert [one.question.rank for one in third.leases] == [5]
        said = pb.PersonAnswer(answer_id="eve-answer", classes={"classes": [1]})
        assert await made.say("eve", f"{key}.5", said) == pb.ANSWER_OUTCOME_COUNTED
        response, rows = await made.result()
        assert (response.answered, len(rows["rank"])) == (8, 17)
        assert [rows["annotator"][row] for row in range(17) if rows["rank"][row] == 5] == ["ann", "bob", "eve"]


async def test_skips_an_early_end_and_a_stop(nats_url: str, tmp_path: Path) -> None:
    async with bench(nats_url, tmp_path) as made:
        key = await made.open(made.small.request())
        with pytest.raises(BadInput, match="has no answer yet"):
            await made.calls.close(pb.CloseRoundRequest(run_id="run"))
        await made.give("ann", f"{key}.0")
        skip = pb.SkipQuestionRequest(question_id=f"{key}.1", annotator="ann", answer_id="skipping", reason="too dark")
        assert (await made.calls.skip(skip)).progress.skipped == 1
        assert [one.question.rank for one in (await made.next("bob")).leases] == [2]
        # The lease of somebody who left can be given back; a stopped run hands nothing out and takes answers.
        await made.calls.release(pb.ReleaseQuestionsRequest(annotator="bob", question_ids=[f"{key}.2"]))
        made.runs.stopped = True
        assert (await made.next("bob")).wait == pb.NEXT_WAIT_CLOSED
        assert (await made.round()).state == pb.ROUND_STATE_PAUSED
        assert await made.give("bob", f"{key}.3") == pb.ANSWER_OUTCOME_COUNTED
        made.runs.stopped = False
        assert [one.question.rank for one in (await made.next("eve")).leases] == [2]
        closed = await made.calls.close(pb.CloseRoundRequest(run_id="run", reason="enough"))
        assert closed.round.state == pb.ROUND_STATE_CLOSED
        response, rows = await made.result()
        assert (response.answered, response.skipped, response.left, response.reason) == (2, 1, 5, "closed")
        assert [(int(rank), bool(why)) for rank, why in zip(rows["rank"], rows["skipped"], strict=True)] == [
            (0, False), (1, True), (3, False),
        ]  # fmt: skip
        # The run asks again, say after a restart: it is told the result, and nobody is asked.
        await made.open(made.small.request())
        assert (await made.next("bob")).wait == pb.NEXT_WAIT_NO_ROUND


async def test_a_budget_in_seconds_ends_when_so_much_was_measured(nats_url: str, tmp_path: Path) -> None:
    async with bench(nats_url, tmp_path) as made:
        request = made.small.request()
        request.budget.unit, request.budget.amount = "seconds", 10.0
        await made.open(request)
        ranks = []
        while leases := (found := await made.next("ann")).leases:
            ranks.append(leases[0].question.rank)
            await made.give("ann", leases[0].question.question_id, seconds=4.0)
        # The round may be closed by the time of the last call.
        assert ranks == [0, 1, 2]
        assert found.wait in (pb.NEXT_WAIT_SPENT, pb.NEXT_WAIT_CLOSED, pb.NEXT_WAIT_NO_ROUND)
        response, _ = await made.result()
        assert (response.answered, response.left, response.reason) == (3, 5, "spent")


def price(rank: int, who: str) -> tuple[float, int]:
    """Seconds and clicks that somebody takes over a question: no two alike, and none a round number of the budget."""
    digest = hashlib.sha256(f"{rank} {who}".encode()).digest()
    return 1.0 + digest[0] / 32, 1 + digest[1] % 7


@pytest.mark.parametrize("overlap", [1, 2])
@pytest.mark.parametrize("unit", ["seconds", "clicks"])
async def test_a_measured_budget_ends_the_round_at_the_question_that_reaches_it(
    unit: str, overlap: int, nats_url: str, tmp_path: Path
) -> None:
    """Two people in turn, who skip some questions and correct one; what they took is recounted here."""
    amount, people = 24.0, ("ann", "bob")
    spent, said, first = 0.0, list[tuple[int, str, bool]](), True
    async with bench(nats_url, tmp_path) as made:
        request = made.small.request("dominant", overlap=overlap, skips=overlap, resolve="majority")
        request.budget.unit, request.budget.amount = unit, amount
        key = await made.open(request)
        expected_seconds, expected_clicks = 0.0, 0
        while spent < amount:
            for who in people:
                leases = (await made.next(who)).leases
                # Nothing is handed out from the answer on that reached the budget, and everything until then.
                assert bool(leases) is (spent < amount), (spent, who)
                if not leases:
                    continue
                rank, skips = leases[0].question.rank, leases[0].question.rank % 3 == 1
                seconds, clicks = price(rank, who)
                common = {"answer_id": f"{who}-answer-{rank}", "seconds": seconds, "clicks": clicks}
                if skips:
                    call = pb.SkipQuestionRequest(
                        question_id=f"{key}.{rank}", annotator=who, reason="too dark", **common
                    )
                    assert (await made.calls.skip(call)).outcome == pb.ANSWER_OUTCOME_COUNTED
                else:
                    answer = pb.PersonAnswer(classes={"classes": [rank % 3]}, **common)
                    assert await made.say(who, f"{key}.{rank}", answer) == pb.ANSWER_OUTCOME_COUNTED
                took = [(seconds, clicks)]
                if first:
                    # A correction costs again.
                    first = False
                    better = pb.PersonAnswer(**{**common, "answer_id": "a-correction"}, classes={"classes": [2]})
                    asked = pb.CorrectAnswerRequest(question_id=f"{key}.{rank}", annotator=who, answer=better)
                    assert (await made.calls.correct(asked)).outcome == pb.ANSWER_OUTCOME_COUNTED
                    took *= 2
                for one_seconds, one_clicks in took:
                    expected_seconds, expected_clicks = expected_seconds + one_seconds, expected_clicks + one_clicks
                spent = expected_seconds if unit == "seconds" else float(expected_clicks)
                said.append((rank, who, skips))
        response, rows = await made.result()
        assert response.reason == "spent"
        assert response.measured_seconds == pytest.approx(expected_seconds)
        assert response.measured_clicks == expected_clicks
        counted = {(int(rank), str(who)) for rank, who in zip(rows["rank"], rows["annotator"], strict=True)}
        # A question that was skipped by fewer than it takes is neither answered nor skipped; its time was paid.
        skipped = Counter(rank for rank, _, skips in said if skips)
        assert counted == {(rank, who) for rank, who, skips in said if not skips or skipped[rank] == overlap}
        ranks = sorted({rank for rank, _, _ in said})
        assert ranks == list(range(len(ranks))), "in the order of the ranking"
        assert response.answered == len({rank for rank, _, skips in said if not skips})
        # One question less would not have reached it.
        last_rank, last_who, _ = said[-1]
        assert spent - price(last_rank, last_who)[unit == "clicks"] < amount <= spent


@pytest.mark.parametrize("query", ["mask", "dominant"])
async def test_three_people_differ_and_the_majority_is_what_was_said(query: str, nats_url: str, tmp_path: Path) -> None:
    """Nobody is asked for a fourth answer; agreement, and the answer that stands for three, are recounted here."""
    rng = np.random.default_rng(5)
    async with bench(nats_url, tmp_path) as made:
        key = await made.open(made.small.request(query, overlap=3, resolve="majority"))
        drawn: dict[int, list[np.ndarray[Any, Any]]] = {}
        for who in ("ann", "bob", "eve"):
            for rank in range(made.small.count):
                size = 16 if query == "mask" else 1
                mine = rng.integers(0, 3, size).astype(np.uint8)
                drawn.setdefault(rank, []).append(mine)
                answer = pb.PersonAnswer(answer_id=f"{who}-answer-{rank}")
                if query == "mask":
                    values, lengths = raster_to_runs(mine.reshape(4, 4))
                    answer.raster.values.extend(values)
                    answer.raster.lengths.extend(lengths)
                else:
                    answer.classes.classes.extend(mine.tolist())
                assert await made.say(who, f"{key}.{rank}", answer) == pb.ANSWER_OUTCOME_COUNTED
        assert (await made.next("dan")).leases == []
        pairs = [(0, 1), (0, 2), (1, 2)]
        agreed = {rank: np.mean([np.mean(said[a] == said[b]) for a, b in pairs]) for rank, said in drawn.items()}
        told = await made.progress()
        assert (told.answered, told.answers, told.disputed) == (8, 24, 0)
        assert told.agreement == pytest.approx(float(np.mean([*agreed.values()])))
        response, rows = await made.result()
        assert (response.answered, response.reason) == (8, "settled")
        for rank, said in drawn.items():
            mine = [row for row, one in enumerate(rows["rank"]) if one == rank]
            assert [rows["annotator"][row] for row in mine] == ["ann", "bob", "eve"]
            given = [Given(tuple(rows["classes"][row])) for row in mine]
            if query == "mask":
                runs = [
                    [np.frombuffer(rows[name][row], "<u4").tolist() for name in ("values", "lengths")] for row in mine
                ]
                given = [Given((), runs_to_raster(values, lengths, 4, 4)) for values, lengths in runs]
            found = resolved(given, query, 255)
            expected = []
            for votes in np.stack(said, axis=1).tolist():
                counts = Counter(votes).most_common()
                alone = len(counts) == 1 or counts[0][1] > counts[1][1]
                # Of pixels, undefined; of classes, those of the last annotator.
                expected.append(counts[0][0] if alone else 255 if query == "mask" else votes[-1])
            values = found.raster.ravel().tolist() if found.raster is not None else list(found.classes)
            assert values == expected, rank


async def test_answers_survive_the_loss_of_nats(nats_url: str, tmp_path: Path) -> None:
    async with bench(nats_url, tmp_path) as made:
        key = await made.open(made.small.request())
        for rank in range(3):
            await made.give("ann", f"{key}.{rank}", f"answer-{rank}")
        await made.messaging.purge(f"KV_{topology.QUESTIONS}", f"$KV.{topology.QUESTIONS}.>", 1 << 40)
    async with bench(nats_url, tmp_path) as again:
        assert again.desk.rounds == {}
        assert await again.open(again.small.request()) == key
        assert (await again.progress()).answered == 3
        assert [one.question.rank for one in (await again.next("bob", 8)).leases] == [3, 4, 5, 6, 7]
        assert await again.give("ann", f"{key}.1", "answer-1") == pb.ANSWER_OUTCOME_COUNTED
        assert (await again.progress()).answers == 3


async def test_what_does_not_fit_is_refused_and_not_stored(nats_url: str, tmp_path: Path) -> None:
    async with bench(nats_url, tmp_path) as made:
        key = await made.open(made.small.request())
        good = {"answer_id": "a-good-id", "raster": {"values": [0], "lengths": [16]}}
        for id_, who, change, words in (
            (f"{key}.0", "ann", {"raster": {"values": [0], "lengths": [15]}}, "they must add up"),
            (f"{key}.0", "ann", {"raster": {"values": [9], "lengths": [16]}}, "class 9 does not exist"),
            (f"{key}.0", "ann", {"answer_id": "short"}, "use 8 to 64"),
            (f"{key}.0", "ann", {"seconds": -1.0}, "seconds"),
            (f"{key}.0", "ann", {"clicks": -1}, "clicks"),
            (f"{key}.0", "no name", {}, "annotator"),
            (f"{key}.99", "ann", {}, "questions 0 to 7"),
            ("x.0", "ann", {}, "question_id"),
            (f"{'0' * 64}.0", "ann", {}, "unknown"),
        ):
            with pytest.raises(BadInput, match=words):
                await made.say(who, id_, pb.PersonAnswer(**{**good, **change}))
        wrong = pb.PersonAnswer(answer_id="a-good-id", classes={"classes": [0]})
        with pytest.raises(BadInput, match="is answered by raster"):
            await made.say("ann", f"{key}.0", wrong)
        assert not [one for one in await made.store.list("answers/") if "/runs/" not in one]
        for count, lease in ((0, 0.0), (1001, 0.0), (1, 5.0)):
            asked = pb.NextQuestionsRequest(run_id="run", annotator="ann", count=count, lease_seconds=lease)
            with pytest.raises(BadInput):
                await made.calls.next(asked)
