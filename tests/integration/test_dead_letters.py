"""A local run that failed: its dead letters can be read and queued again after its servers have ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from integration.loop import start, tessera, until, write_recipe


@pytest.mark.full
def test_dead_letters_of_a_run_that_has_ended(tmp_path: Path) -> None:
    out = tmp_path / "out"
    failed = tessera("run", write_recipe(tmp_path), "--out", out, TESSERA_COMPUTE_MEMORY_BYTES=str(40 << 20))
    assert failed.returncode == 3
    assert "out of memory" in failed.stderr or "more than 40 MiB" in failed.stderr
    listed = tessera("dlq", "list", "--out", out)
    assert listed.returncode == 0, listed.stderr
    assert "out_of_memory" in listed.stdout
    assert "more than 40 MiB" in listed.stdout
    key = listed.stdout.split()[2]
    assert tessera("dlq", "requeue", "nobody", "--out", out).returncode == 2
    queued = tessera("dlq", "requeue", key, "--out", out)
    assert queued.returncode == 0, queued.stderr
    assert f"continue the run with: tessera resume {out}" in queued.stdout
    assert key not in tessera("dlq", "list", "--out", out).stdout
    assert not (out / "stack" / "pids.json").exists(), "the server that was started to be read has ended"
    assert tessera("dlq", "list", "--out", tmp_path / "nothing").returncode == 2
    done = tessera("resume", out)
    assert done.returncode == 0, done.stderr


def test_a_stack_that_runs_is_asked_and_not_started_again(tmp_path: Path) -> None:
    log = tmp_path / "up.log"
    up = start("up", "--out", tmp_path / "stack", log=log)
    try:
        until(lambda: "up; logs in" in log.read_text() or up.poll() is not None, 60, "tessera up")
        before = json.loads((tmp_path / "stack" / "pids.json").read_bytes())
        listed = tessera("dlq", "list", "--out", tmp_path / "stack")
        assert (listed.returncode, listed.stdout) == (0, "no dead jobs\n"), listed.stderr
        healthy = tessera("doctor", "--out", tmp_path / "stack")
        assert healthy.returncode == 0, healthy.stdout
        rows = {line.split()[0]: line.split()[1] for line in healthy.stdout.splitlines()}
        for name in ("nats", "topology", "room", "coordinator", "workers", "store", "disk"):
            assert rows[name] == "ok", healthy.stdout
        assert json.loads((tmp_path / "stack" / "pids.json").read_bytes()) == before
    finally:
        up.terminate()
        up.wait(30)
