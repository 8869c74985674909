"""Every service of ours keeps every rule of the contract, those that are advice too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from contract.processes import Served
from tessera.cli.conformance.checks import FAILED, PASSED, SKIPPED
from tessera.cli.conformance.examine import Report, Subject, examine
from tessera.runtime import catalogue

SERVICES = sorted({service for service, _ in catalogue.methods().values()})
# They import torch, or train a network before there is anything to ask them.
LONG = {"embedder", "evaluator", "scorer", "trainer", "oracle", "partitioner"}


def _examined(tmp_path: Path, nats_url: str, service: str) -> Report:
    served = Served(tmp_path, nats_url)
    try:
        served.start(service)
        address = served.address(service)
        return asyncio.run(examine(Subject(service, address, served.store_url, nats_url, seconds=120.0)))
    finally:
        for process in served.processes.values():
            process.kill()
            process.wait(10)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "service", [pytest.param(each, marks=pytest.mark.full) if each in LONG else each for each in SERVICES]
)
def test_our_service_keeps_the_contract(tmp_path: Path, nats_url: str, service: str) -> None:
    report = _examined(tmp_path, nats_url, service)
    methods = {name for name, (owner, _) in catalogue.methods().items() if owner == service}
    assert {one.method for one in report.findings} == methods
    broken = [(one.method, one.check, one.found) for one in report.findings if one.state not in (PASSED, SKIPPED)]
    assert broken == []
    # What says nothing about a method: a request without a named choice.
    skipped = {(one.method, one.check) for one in report.findings if one.state == SKIPPED}
    assert {check for _, check in skipped} <= {"bad-value", "bad-value-job"}, skipped
    assert FAILED not in {one.state for one in report.findings}
