"""A check of the contract: its rule, what to do where it is broken, and how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tessera.cli.conformance.bench import Bench
from tessera.cli.conformance.outcomes import Broken
from tessera.cli.conformance.samples import SampleRequest

PASSED, FAILED, ADVICE, SKIPPED = "passed", "failed", "advice", "skipped"
"""``advice``: a rule that an implementation should keep, and that no run depends on."""
GRPC, JETSTREAM = "grpc", "jetstream"
Function = Callable[[Bench, SampleRequest], Awaitable[str]]


@dataclass(frozen=True)
class Check:
    """One rule of the contract, its remedy, and the function that returns what was seen or raises `Broken`."""

    name: str
    door: str
    rule: str
    remedy: str
    function: Function
    must: bool = True
    service: str = ""
    """The only service that it concerns; empty: any."""


@dataclass(frozen=True)
class Finding:
    """How a check of a method ended, and what was found."""

    method: str
    check: str
    state: str
    rule: str
    found: str
    remedy: str


CHECKS: Final[list[Check]] = []
"""Every check, in the order in which they run."""


def check(
    name: str, door: str, rule: str, remedy: str, *, must: bool = True, service: str = ""
) -> Callable[[Function], Function]:
    """Register a check."""

    def add(function: Function) -> Function:
        CHECKS.append(Check(name, door, rule, remedy, function, must, service))
        return function

    return add


def expect(condition: object, found: str) -> None:
    """Raise `Broken` with what was found unless the condition holds."""
    if not condition:
        raise Broken(found)
