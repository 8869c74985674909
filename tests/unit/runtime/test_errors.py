"""The table of failures is complete and says the same at every door."""

from __future__ import annotations

import grpc
import pytest

import tessera.errors
from tessera.errors import BadInput, ChildCrashed, Conflict, OutOfMemory, TesseraError, Unavailable
from tessera.runtime.errors import OUTCOMES, as_error, exit_code, outcome, retry_delay, status_name

KINDS = [k for k in vars(tessera.errors).values() if isinstance(k, type) and issubclass(k, TesseraError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_failure_has_a_row_and_a_real_status(kind: type[TesseraError]) -> None:
    assert kind in OUTCOMES
    assert grpc.StatusCode[status_name(kind("x"))] is not grpc.StatusCode.OK
    assert exit_code(kind("x")) in (2, 3, 130)


@pytest.mark.parametrize("kind", KINDS)
def test_a_permanent_failure_is_not_tried_again(kind: type[TesseraError]) -> None:
    if not kind.transient and kind is not TesseraError:
        assert retry_delay(kind("x"), 1, 5) is None
    if kind.transient:
        assert retry_delay(kind("x"), 1, 5) is not None


def test_delays_grow_to_a_limit_with_jitter() -> None:
    for attempt, middle in ((1, 2), (2, 4), (3, 8), (6, 64), (7, 120), (2000, 120)):
        delays = [retry_delay(Conflict("x"), attempt, 3000) or 0 for _ in range(50)]
        assert 0.8 * middle <= min(delays) < max(delays) <= 1.2 * middle


def test_an_outage_is_never_the_last_attempt_and_is_asked_about_every_half_minute() -> None:
    for times, middle in ((1, 2), (2, 4), (4, 16), (5, 30), (2000, 30)):
        delays = [retry_delay(Unavailable("x"), times, 1) or 0 for _ in range(50)]
        assert 0.8 * middle <= min(delays) < max(delays) <= 1.2 * middle


def test_attempts_are_capped() -> None:
    assert retry_delay(Conflict("x"), 4, 5) is not None
    assert retry_delay(Conflict("x"), 5, 5) is None
    for error in (OutOfMemory("x"), ChildCrashed("x")):
        assert retry_delay(error, 1, 5) is not None
        assert retry_delay(error, 2, 5) is None
        assert retry_delay(error, 1, 1) is None


def test_an_unknown_exception_loses_its_text() -> None:
    shown = as_error(KeyError("marker-secret"))
    assert type(shown) is TesseraError
    assert "marker" not in str(shown)
    assert "KeyError" in str(shown)
    assert isinstance(as_error(TimeoutError("x")), Unavailable)
    assert isinstance(as_error(MemoryError()), OutOfMemory)
    assert exit_code(KeyboardInterrupt()) == 130


def test_a_subclass_takes_the_row_of_its_base() -> None:
    class WrongMask(BadInput):
        pass

    assert outcome(WrongMask("x")) == OUTCOMES[BadInput]
