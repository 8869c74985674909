"""A stack that is up: submit, status, watch, cancel, resume, doctor and the dead letters, as separate commands."""

from __future__ import annotations

import signal

import pytest

from integration.loop import selections, start, tessera, until


@pytest.fixture
def stack(tmp_path):
    """``tessera up`` in the background; the environment it says to export."""
    log = tmp_path / "up.log"
    process = start("up", "--out", tmp_path / "stack", log=log)
    until(lambda: "up; logs in" in log.read_text() or process.poll() is not None, 60, "tessera up")
    assert process.poll() is None, log.read_text()
    lines = [line.removeprefix("export ") for line in log.read_text().splitlines() if line.startswith("export ")]
    yield dict(line.split("=", 1) for line in lines)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0, log.read_text()


@pytest.mark.full
def test_a_run_from_afar(stack, recipe, reference, tmp_path):
    sent = tessera("submit", recipe, "--seed", 5, **stack)
    assert sent.returncode == 0, sent.stderr
    run = sent.stdout.strip()
    # Submitting again is the same run.
    assert tessera("submit", recipe, "--seed", 5, **stack).stdout.strip() == run
    assert tessera("cancel", run, "--reason", "lunch", **stack).returncode == 0
    watched = tessera("watch", run, **stack)
    assert watched.returncode == 130, watched.stderr
    assert "lunch" in watched.stderr
    assert "cancelled" in tessera("status", run, **stack).stdout
    resumed = tessera("resume", run, **stack)
    assert resumed.returncode == 0, resumed.stderr
    done = tessera("watch", run, "--out", tmp_path / "out", **stack)
    assert done.returncode == 0, done.stderr
    assert selections(tmp_path / "out") == selections(reference)
    listed = tessera("status", **stack).stdout
    assert run in listed
    assert "done" in listed
    unknown = tessera("status", "nobody", **stack)
    assert unknown.returncode == 2
    assert "nobody" in unknown.stderr
    healthy = tessera("doctor", **stack)
    assert healthy.returncode == 0, healthy.stdout
    rows = {line.split()[0]: line.split()[1] for line in healthy.stdout.splitlines()}
    assert {name: rows[name] for name in ("nats-server", "nats", "store", "compute")} == dict.fromkeys(
        ("nats-server", "nats", "store", "compute"), "ok"
    )
    assert (rows["weights"], rows["data"]) == ("optional", "optional")
    assert tessera("dlq", "list", **stack).stdout.strip() == "no dead jobs"
    assert tessera("dlq", "requeue", "no-such-job", **stack).returncode == 2


def test_doctor_names_what_is_broken(tmp_path):
    (tmp_path / "file").write_text("x")
    sick = tessera(
        "doctor", "--nats", "nats://127.0.0.1:9", "--store", f"file://{tmp_path}/file", "--data", tmp_path / "gone",
        TESSERA_WEIGHTS_DIR=str(tmp_path), XDG_CACHE_HOME=str(tmp_path),
    )  # fmt: skip
    assert sick.returncode == 3
    rows = {line.split()[0]: line for line in sick.stdout.splitlines()}
    for name in ("nats", "store", "weights", "data"):
        assert rows[name].split()[1] == "broken", rows[name]
    assert "no such folder" in rows["data"]
    assert tessera("doctor", "--data", tmp_path / "gone").returncode == 1


def test_commands_without_a_coordinator_say_what_is_missing():
    done = tessera("status")
    assert done.returncode == 2
    assert "TESSERA_COORDINATOR" in done.stderr
    done = tessera("status", "--coordinator", "127.0.0.1:9")
    assert done.returncode == 3
    assert "no server answers" in done.stderr
