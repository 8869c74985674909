"""Recorded runs are decided as they were: an upgrade in mid-run changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import json_format

from histories.record import decisions
from tessera.loop.reducer import VERSION
from tessera.pb.runs_pb2 import RunEvent

FILES = sorted((Path(__file__).parents[2] / "histories").glob("*.json"))


def test_there_are_histories_of_this_version():
    assert len(FILES) >= 10
    assert any(path.name.startswith(f"v{VERSION}_") for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recorded_run_is_decided_as_it_was(path):
    recorded = json.loads(path.read_text())
    events = [json_format.ParseDict(event, RunEvent()) for event in recorded["events"]]
    assert decisions(events) == recorded["decisions"]
