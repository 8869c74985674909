"""Progress where there is no terminal: few lines, and never an old one as the last word."""

from __future__ import annotations

import time

import pytest

from tessera.cli import progress


@pytest.fixture
def lines(monkeypatch):
    found = []
    monkeypatch.setattr(progress, "note", found.append)
    return found


def wait_for(lines, count):
    deadline = time.monotonic() + 10
    while len(lines) < count and time.monotonic() < deadline:
        time.sleep(0.005)


def test_the_last_of_many_updates_is_shown_though_nothing_follows(lines, monkeypatch):
    """A run that begins to wait for a store says so, and then nothing changes."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.6)
    with progress.ProgressBar("round 1") as bar:
        for done in range(3):
            bar.update(done, 3, "")
        bar.update(2, 3, "waiting: the store does not answer")
        assert lines == ["round 1: 0/3"]
        wait_for(lines, 2)
        assert lines == ["round 1: 0/3", "round 1: 2/3 waiting: the store does not answer"]
        # It is said once, and a line that comes back in between is no news.
        for text in ("waiting: the store does not answer", "", "waiting: the store does not answer"):
            bar.update(2, 3, text)
        time.sleep(0.9)
        assert len(lines) == 2
        bar.update(3, 3, "")
        assert lines[2:] == ["round 1: 3/3"]


def test_the_end_takes_back_what_was_not_shown_yet(lines, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.1)
    with progress.ProgressBar("importing") as bar:
        for done in range(1, 13):
            bar.update(done, 12, "")
    time.sleep(0.3)
    assert lines == ["importing: 1/12"]
