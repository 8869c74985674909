"""JetStream's whole store is lost in mid-run: the run is rebuilt from the object store and ends as it would have."""

from __future__ import annotations

import shutil
import signal

import pytest

from integration.loop import selections, start, summary, tessera, until

pytestmark = [pytest.mark.faults, pytest.mark.full]


def up(folder, log):
    process = start("up", "--out", folder, log=log)
    until(lambda: "up; logs in" in log.read_text() or process.poll() is not None, 60, "tessera up")
    assert process.poll() is None, log.read_text()
    lines = [line.removeprefix("export ") for line in log.read_text().splitlines() if line.startswith("export ")]
    return process, dict(line.split("=", 1) for line in lines)


def test_a_run_is_rebuilt_from_the_store(recipe, reference, tmp_path):
    folder = tmp_path / "stack"
    process, known = up(folder, tmp_path / "first.log")
    try:
        run = tessera("submit", recipe, "--seed", 5, **known).stdout.strip()
        until(lambda: "round 1/" in tessera("status", run, **known).stdout, 60, "the second round")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    answered = {path: path.read_bytes() for path in (folder / "store" / "jobs" / "Answer").glob("*.json")}
    assert answered
    shutil.rmtree(folder / "nats")
    process, known = up(folder, tmp_path / "second.log")
    try:
        assert "no runs" in tessera("status", **known).stdout
        rebuilt = tessera("doctor", "--rebuild", run, "--out", folder, **known)
        assert rebuilt.returncode == 0, rebuilt.stderr
        assert run in rebuilt.stdout
        done = tessera("watch", run, "--out", tmp_path / "out", **known)
        assert done.returncode == 0, done.stderr
        audited = tessera("audit", run, "--out", folder, **known)
        assert audited.returncode == 0, audited.stdout
        expected = tessera("audit", "--out", reference).stdout.split()[-1]
        assert audited.stdout.split()[-1] == expected
        nobody = tessera("doctor", "--rebuild", "nobody", "--out", folder, **known)
        assert nobody.returncode == 2
        assert "spec.json" in nobody.stderr
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert selections(tmp_path / "out") == selections(reference)
    assert summary(tmp_path / "out")["rounds"][-1]["clicks"] == summary(reference)["rounds"][-1]["clicks"]
    assert {path: path.read_bytes() for path in answered} == answered, "no answer was given twice"
