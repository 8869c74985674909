"""``tessera up --dashboard`` prints an address that works, and the same one after a restart."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from integration.loop import end_started, start, until

ADDRESS = re.compile(r"dashboard: (http://127\.0\.0\.1:\d+)/sign-in#(\w+)")


@pytest.fixture(autouse=True)
def _no_command_outlives_its_test() -> Iterator[None]:
    yield
    end_started()


def _told(process: subprocess.Popen[bytes], log: Path) -> bool:
    return bool(ADDRESS.search(log.read_text())) or process.poll() is not None


@pytest.mark.full
def test_up_prints_an_address_and_keeps_it(tmp_path: Path) -> None:
    found = []
    for attempt in range(2):
        log = tmp_path / f"up{attempt}.log"
        process = start("up", "--dashboard", "--out", tmp_path / "stack", log=log)
        until(partial(_told, process, log), 100, "the address")
        address = ADDRESS.search(log.read_text())
        assert address is not None, log.read_text()
        found.append(address.groups())
        with httpx.Client(base_url=address[1], timeout=60) as client:
            assert client.get("/").headers["location"] == "/sign-in"
            assert client.post("/sign-in", data={"token": address[2]}).headers["location"] == "/"
            page = client.get("/")
            assert "No runs yet" in page.text
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130), log.read_text()
    assert found[0] == found[1]
    facts = tmp_path / "stack" / "dashboard.json"
    assert facts.stat().st_mode & 0o077 == 0, "the token is its owner's alone"
