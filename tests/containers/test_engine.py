"""The search for an engine leaves nothing open, which would be another test's error when it is collected."""

from __future__ import annotations

import gc
import socket
import warnings
from pathlib import Path

import pytest

from containers import engine


@pytest.mark.parametrize("answers", ["nobody", "nothing", "refuses"])
def test_asking_for_an_engine_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: str
) -> None:
    address = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener, warnings.catch_warnings(record=True) as said:
        if answers != "nobody":
            listener.bind(str(address))
        if answers == "nothing":
            listener.listen(1)
            listener.close()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{address}")
        gc.collect()
        warnings.simplefilter("always")
        found = engine._look()
        gc.collect()
    assert found.backend == "local"
    assert "no Docker engine answers" in found.reason
    assert [str(each.message) for each in said if each.category is ResourceWarning] == []
