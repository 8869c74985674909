"""Which attempt at a job is the last."""

from __future__ import annotations

import pytest

from tessera import errors
from tessera.runtime.attempts import Attempt
from tessera.runtime.worker import next_delay

NEVER = (errors.BadInput, errors.CorruptObject, errors.ChildTimedOut, errors.Cancelled)


def after(*earlier: str) -> Attempt:
    return Attempt(len(earlier) + 1, earlier, "")


@pytest.mark.parametrize("kind", NEVER)
def test_permanent_failures_are_not_tried_again(kind: type[Exception]) -> None:
    assert next_delay(kind("x"), after(), 5) is None


@pytest.mark.parametrize("kind", [errors.OutOfMemory, errors.ChildCrashed, errors.TesseraError])
def test_a_dead_child_is_tried_once_more_whatever_came_before(kind: type[errors.TesseraError]) -> None:
    assert next_delay(kind("x"), after(), 5) is not None
    assert next_delay(kind("x"), after(kind.reason), 5) is None
    assert next_delay(kind("x"), after("unavailable", "unavailable"), 5) is not None
    assert next_delay(kind("x"), after("unavailable", kind.reason), 5) is None


def test_a_conflict_is_tried_again_up_to_the_cap() -> None:
    for attempt in range(1, 12):
        delay = next_delay(errors.Conflict("x"), after(*["conflict"] * (attempt - 1)), 12)
        assert delay is not None
        assert 0.8 * min(2**attempt, 120) <= delay <= 1.2 * min(2**attempt, 120)
    assert next_delay(errors.Conflict("x"), after(*["conflict"] * 11), 12) is None


def test_an_outage_is_waited_out_however_long_it_lasts() -> None:
    assert next_delay(errors.Unavailable("x"), after(*["unavailable"] * 40), 2) is not None
