"""The reducer: order and number of results never matter, and what is labelled stays in bounds."""

from __future__ import annotations

import functools
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.loop import plan
from tessera.loop.reducer import CANCELLED, DONE, FAILED, RUNNING, RunState, apply, fold
from tessera.pb import runs_pb2 as runs
from unit.loop.simulator import World, job_failed, load, spec_of, timed, walk

ARMS = ["street_random", "street_meal", "street_meal_ft"]


@functools.cache
def history(name):
    return walk(spec_of(load(name, budget__rounds=2)))


def event(**kind):
    return runs.RunEvent(**kind)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(ARMS), data=st.data())
def test_shuffled_and_duplicated_results_give_the_same_state(name, data):
    walked = history(name)
    # The end of the run is decided last by its nature; everything before it commutes.
    facts, end = walked.events[:-1], walked.events[-1]
    length = data.draw(st.integers(1, len(facts)))
    facts = facts[:length]
    again = data.draw(st.lists(st.sampled_from(facts), max_size=20))
    shuffled = data.draw(st.permutations([*facts, *again]))
    reference = fold(RunState(), facts)
    found = fold(RunState(), shuffled)
    assert found == reference
    assert plan.next_action(found) == plan.next_action(reference)
    assert fold(found, [end]) == fold(reference, [end])


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(ARMS), cut=st.integers(0, 400))
def test_folding_in_parts_one_by_one_or_at_once_is_the_same(name, cut):
    events = history(name).events
    at_once = fold(RunState(), events)
    parts = fold(fold(RunState(), events[:cut]), events[cut:])
    one_by_one = RunState()
    for one in events:
        one_by_one = apply(one_by_one, one)
    assert at_once == parts == one_by_one


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_folding_never_changes_the_state_it_was_given(data):
    events = history("street_meal").events
    cut = data.draw(st.integers(0, len(events)))
    before = fold(RunState(), events[:cut])
    frozen = fold(RunState(), events[:cut])
    fold(before, events[cut:])
    for one in events[cut : cut + 3]:
        apply(before, one)
    assert before == frozen


@settings(max_examples=25, deadline=None)
@given(
    images=st.integers(2, 12),
    initial=st.integers(1, 3),
    per_round=st.integers(1, 40),
    rounds=st.integers(0, 6),
    seed=st.integers(0, 2**63 - 1),
    name=st.sampled_from(ARMS),
)
def test_never_over_budget_and_no_region_labelled_twice(images, initial, per_round, rounds, seed, name):
    changes = {"budget__per_round": per_round, "budget__rounds": rounds, "runtime__shard_images": 5}
    changes["selection__initial"] = [{"name": "random_images", "images": initial}]
    walked = walk(spec_of(load(name, **changes), train=images, seed=seed))
    chosen = [region for round_ in walked.chosen() for region in round_]
    assert len(chosen) == len(set(chosen))
    total = initial * 16 + rounds * per_round
    if total > images * 16:
        assert chosen == []
        assert walked.end.exit_code == 2
    else:
        assert walked.end == plan.Finish("spent")
        assert [len(round_) for round_ in walked.chosen()] == [initial * 16] + [per_round] * rounds


def test_a_pool_that_runs_out_ends_the_run():
    # Images have different numbers of regions (19 have 1, one has 301), so the check before labelling cannot know.
    class Uneven(World):
        def _partition(self, request):
            made = super()._partition(request)
            rows = [(image, 0) for image in range(request.images.start, request.images.end)]
            if request.images.start == 0:
                rows += [(0, region) for region in range(1, 301)]
            made.shard.regions.CopyFrom(self._table("regions", rows))
            made.shard.region_count = len(rows)
            return made

    changes = {"selection__initial": [{"name": "random_images", "images": 1}], "budget__per_round": 100}
    walked = None
    for seed in range(200):
        walked = walk(spec_of(load("street_random", budget__rounds=3, **changes), train=20, seed=seed), Uneven())
        if len(walked.chosen()[0]) == 301:
            break
    assert [len(round_) for round_ in walked.chosen()] == [301, 19]
    assert walked.end == plan.Finish("pool_exhausted")


def test_unknown_kinds_are_counted_and_ignored():
    walked = history("street_random")
    newer = runs.RunEvent()
    # Field 14 of a later version.
    newer.MergeFromString(bytes([14 << 3 | 2, 0]))
    state = fold(RunState(), [walked.events[0], newer, runs.RunEvent()])
    assert state.unknown_events == 2
    assert state.status == RUNNING


def test_a_result_settles_a_failure_whichever_is_read_first():
    walked = history("street_random")
    submit, step, done = walked.events[0], walked.events[1], walked.events[2]
    failure = job_failed(done.job_done.record.job_key)
    one = fold(RunState(), [submit, step, failure, done])
    other = fold(RunState(), [submit, step, done, failure])
    assert one.failures == other.failures == {}
    assert one.steps == other.steps


def test_life_and_death_of_a_run():
    submit = history("street_random").events[0]
    cancelled = event(cancelled=runs.RunCancelled(reason="enough"))
    resumed = event(resumed=runs.RunResumed())
    failed = event(failed=runs.RunFailed(message="no", exit_code=2))
    finished = event(finished=runs.RunFinished(reason="spent"))
    state = fold(RunState(), [submit, cancelled])
    assert (state.status, state.message, state.exit_code) == (CANCELLED, "enough", 130)
    state = fold(state, [finished, failed])
    assert state.status == CANCELLED
    state = fold(state, [resumed])
    assert (state.status, state.message, state.exit_code, state.resumes) == (RUNNING, "", 0, 1)
    state = fold(state, [resumed])
    assert state.resumes == 1
    state = fold(state, [failed])
    assert (state.status, state.message, state.exit_code) == (FAILED, "no", 2)
    state = fold(state, [resumed, finished, cancelled, resumed, failed])
    assert (state.status, state.message) == (DONE, "spent")


def test_times_are_those_of_the_events():
    state = fold(RunState(), timed(history("street_random").events))
    assert state.started == 1000
    assert state.ended == 1000 + len(history("street_random").events) - 1


def test_planning_is_cheap_for_many_shards():
    # 367 images in shards of one: 367 jobs per step; a copy of everything a result would be 10^6 copies of entries.
    began = time.process_time()
    walked = walk(spec_of(load("street_entropy", runtime__shard_images=1, budget__rounds=2), train=367))
    assert walked.end == plan.Finish("spent")
    # About 1 s here; planning anew or copying everything at each of the 1,600 results takes minutes.
    assert time.process_time() - began < 15
