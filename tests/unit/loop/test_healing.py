"""Lost and damaged objects: who made them makes them again, and what was built on another result is planned anew."""

from __future__ import annotations

import dataclasses

import pytest

from tessera.loop import healing, plan
from tessera.loop.reducer import RunState, apply, fold
from tessera.loop.view import view
from tessera.pb import runs_pb2 as pb
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.jobs_pb2 import JobFailure, JobRecord
from tessera.pb.oracle_pb2 import AnswerResponse
from tessera.pb.partitioner_pb2 import PartitionResponse
from tessera.pb.questions_pb2 import CollectResponse
from unit.loop.simulator import key_of, load, ref, spec_of, walk


@pytest.fixture(scope="module")
def walked():
    return walk(spec_of(load("street_meal", budget__rounds=2)))


def until(walked, round_, step):
    """State just after the named step was started, and its first job's key."""
    state = RunState()
    for event in walked.events:
        state = apply(state, event)
        if event.step_started.step == step and event.step_started.round == round_:
            return state, event.step_started.job_keys[0]
    raise AssertionError(f"no step {step} in round {round_}")


def lost(key, wanted, method="Select"):
    failure = JobFailure(job_key=key, method=method, reason="corrupt_object", message=f"object {wanted.key}: is lost")
    failure.object.CopyFrom(wanted)
    return pb.RunEvent(job_failed=pb.JobFailed(failure=failure))


def record_of(walked, key):
    """The record that a worker told of."""
    return next(event.job_done.record for event in walked.events if event.job_done.record.job_key == key)


def redone(action):
    return pb.RunEvent(
        redone=pb.JobsRedone(job_keys=action.job_keys, retried_keys=action.retried, reason=action.reason)
    )


def done(record):
    return pb.RunEvent(job_done=pb.JobDone(record=record))


def test_the_job_that_made_it_makes_it_again_and_the_run_goes_on(walked):
    state, select = until(walked, 1, "select")
    score = state.steps[1, "score"]
    key = score.job_keys[1]
    result = score.records[key]
    record = record_of(walked, key)
    state = apply(state, lost(select, score.responses(type_of("Score"))[1].scores))
    action = plan.next_action(state)
    assert action == healing.Redo((key,), (select,), action.reason)
    state = apply(state, redone(action))
    assert isinstance(plan.next_action(state), plan.Wait)
    assert [step.name for step in state.open_steps] == ["score", "select"]
    assert state.distrusted == {key: result}
    # Its picture can be taken at any time.
    assert view(state).jobs_done == len(score.job_keys) - 1
    # What the old record's worker says late changes nothing.
    assert apply(state, done(record)).steps == state.steps
    again = JobRecord()
    again.CopyFrom(record)
    again.attempt = 2
    state = apply(state, done(again))
    assert [step.name for step in state.open_steps] == ["select"]
    assert not state.distrusted
    # The same result: nothing that was built on it is planned anew, and the run ends as it would have.
    rest = walked.events[walked.events.index(next(e for e in walked.events if e.job_done.record.job_key == select)) :]
    state = fold(state, rest)
    assert state.status == pb.RUN_STATUS_DONE
    assert view(state).rounds[2].selection_sha256 == view(walked.state).rounds[2].selection_sha256


def type_of(method):
    from tessera.pb import scorer_pb2

    return getattr(scorer_pb2, f"{method}Response")


def test_what_was_planned_from_another_result_is_planned_anew(walked):
    state = walked.state
    assert state.status == pb.RUN_STATUS_DONE
    key = state.steps[1, "label"].job_keys[0]
    record = record_of(walked, key)
    before = list(state.steps)
    asked = pb.RunEvent(redone=pb.JobsRedone(job_keys=[key], asked=True))
    state = apply(state, asked)
    assert state.status == pb.RUN_STATUS_RUNNING
    assert not state.redone, "what a person asks for is not bounded"
    view(state)
    other = JobRecord()
    other.CopyFrom(record)
    from tessera.pb.oracle_pb2 import AnswerResponse

    response = AnswerResponse.FromString(record.response)
    response.ledger.CopyFrom(ref("ledger", "otherwise"))
    other.response = response.SerializeToString()
    state = apply(state, done(other))
    assert list(state.steps) == before[: before.index((1, "label")) + 1]
    action = plan.next_action(state)
    assert (action.step, action.round) == ("train", 1)
    assert response.ledger in action.jobs[0].request.ledgers
    # Results of steps that are planned as before wait to be reused.
    train = walked.state.steps[1, "train"].job_keys[0]
    assert train in state.early


def test_a_nested_object_names_its_job_too(walked):
    state, select = until(walked, 0, "select")
    step = state.steps[0, "partition"]
    key = step.job_keys[-1]
    inner = ObjectRef(key="cas/sha256/ab/cd", sha256="ab" * 32, size=3, bucket="b")
    record = dataclasses.replace(step.records[key], wrote=bytes.fromhex("cd" * 8 + "ab" * 8))
    records = {**step.records, key: record}
    state = dataclasses.replace(
        state, steps={**state.steps, (0, "partition"): dataclasses.replace(step, records=records)}
    )
    state = apply(state, lost(select, inner))
    assert plan.next_action(state).job_keys == (key,)
    assert healing.maker(state, "cd" * 32) == key
    assert PartitionResponse.FromString(record.response).shard.region_count


def test_a_store_that_goes_on_losing_ends_the_run_with_the_reason(walked):
    state, select = until(walked, 1, "select")
    score = state.steps[1, "score"]
    key = score.job_keys[0]
    gone = score.responses(type_of("Score"))[0].scores
    for attempt in range(healing.LIMIT):
        state = apply(state, lost(select, gone))
        action = plan.next_action(state)
        assert action.job_keys == (key,), attempt
        state = apply(state, redone(action))
        # A second job meets the same damage while it is being mended: it is only tried again.
        late = plan.next_action(apply(state, lost(select, gone)))
        assert (late.job_keys, late.retried) == ((), (select,))
        again = JobRecord()
        again.CopyFrom(record_of(walked, key))
        again.attempt = attempt + 2
        state = apply(state, done(again))
    action = plan.next_action(apply(state, lost(select, gone)))
    assert isinstance(action, plan.Fail)
    assert f"job {key} made it again {healing.LIMIT} times" in action.message


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (ObjectRef(key="datasets/d/images/train/a.png", sha256="00" * 32, size=1), "imported with data set imagined"),
        (ref("weights", "imagenet"), "imported with the pretrained weights"),
        (ObjectRef(key="cas/sha256/00/00", sha256="01" * 32, size=1), "no record of this run says which job wrote it"),
    ],
)
def test_what_was_imported_is_named(wanted, words):
    walked = walk(spec_of(load("meal_camvid_meal_frozen", budget__rounds=1)))
    state, train = until(walked, 0, "train")
    action = plan.next_action(apply(state, lost(train, wanted, "Train")))
    assert isinstance(action, plan.Fail)
    assert words in action.message
    assert wanted.key in action.message


def test_answers_of_people_are_never_made_again():
    walked = walk(spec_of(load("meal_camvid_meal_frozen", oracle={"name": "human"}, budget__rounds=1)))
    state, label = until(walked, 1, "label")
    answers = state.steps[0, "collect"].responses(CollectResponse)[0].answers
    action = plan.next_action(apply(state, lost(label, answers, "Answer")))
    assert isinstance(action, plan.Fail)
    assert "round 0, collect" in action.message
    assert "people gave these answers" in action.message
    # The ledger is made from them by a job, which can be done again.
    state, train = until(walked, 1, "train")
    ledger = state.steps[0, "label"].responses(AnswerResponse)[0].ledger
    assert isinstance(plan.next_action(apply(state, lost(train, ledger, "Train"))), healing.Redo)


def test_a_lost_request_is_only_queued_again(walked):
    state, select = until(walked, 1, "select")
    request = ObjectRef(key="cas/sha256/00/00", sha256="02" * 32, size=1, media_type="application/x-protobuf")
    for _ in range(healing.LIMIT):
        state = apply(state, lost(select, request))
        action = plan.next_action(state)
        assert (action.job_keys, action.retried) == ((select,), (select,))
        state = apply(state, redone(action))
    assert isinstance(plan.next_action(apply(state, lost(select, request))), plan.Fail)


def test_a_result_that_cannot_be_decoded_fails_its_run_and_a_resume_asks_again(walked):
    state, key = until(walked, 1, "select")
    state = apply(state, done(JobRecord(job_key=key, method="Select", response=b"\xff\xff\xff")))
    assert isinstance(plan.next_action(state), plan.Fail)
    assert "cannot be decoded" in plan.next_action(state).message
    view(state)
    state = apply(state, pb.RunEvent(failed=pb.RunFailed(message="x")))
    state = apply(state, pb.RunEvent(resumed=pb.RunResumed()))
    assert not state.failures
    assert [step.name for step in state.open_steps] == ["select"]
    assert key_of("Select", walked.step(1, "select").jobs[0].request) == key
