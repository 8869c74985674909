"""The one table of what is worth another attempt."""

from __future__ import annotations

import random

import pytest
from tessera import errors
from tessera.runtime.retries import retry_delay

NEVER = (errors.BadInput, errors.CorruptObject, errors.ChildTimedOut, errors.Cancelled, errors.TesseraError, KeyError)


@pytest.mark.parametrize("kind", NEVER)
def test_permanent_failures_are_not_tried_again(kind: type[Exception]) -> None:
    assert retry_delay(kind("x"), 1, [], 5) is None


@pytest.mark.parametrize("kind", [errors.OutOfMemory, errors.ChildCrashed])
def test_a_dead_child_is_tried_once_more(kind: type[errors.TesseraError]) -> None:
    assert retry_delay(kind("x"), 1, [], 5) is not None
    assert retry_delay(kind("x"), 2, [kind.reason], 5) is None
    assert retry_delay(kind("x"), 2, ["unavailable"], 5) is not None


@pytest.mark.parametrize("kind", [errors.Unavailable, errors.Conflict])
def test_outages_are_waited_out_up_to_the_cap(kind: type[errors.TesseraError]) -> None:
    for attempt in range(1, 12):
        delay = retry_delay(kind("x"), attempt, ["unavailable"] * attempt, 12, random.Random(attempt))
        assert delay is not None
        assert 0.8 * min(2**attempt, 120) <= delay <= 1.2 * min(2**attempt, 120)
    assert retry_delay(kind("x"), 12, [], 12) is None
