"""The supervisor restarts what dies, gives up on crash loops, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tessera.cli import processes
from tessera.cli.processes import CrashLoop, Spec, Supervisor, end_leftovers
from tessera.errors import BadInput

SLEEP = [sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(600)"]


def until(condition, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)
    return value


@pytest.fixture
def supervisor(tmp_path):
    made = Supervisor(tmp_path / "stack")
    yield made
    made.stop(grace_seconds=1.0)


def test_a_killed_process_is_started_again(supervisor):
    supervisor.add(Spec("one", SLEEP))
    first = until(lambda: supervisor.pid("one"))
    os.kill(first, signal.SIGKILL)
    second = until(lambda: (pid := supervisor.pid("one")) and pid != first and pid)
    assert psutil.pid_exists(second)
    supervisor.check()


def test_a_crash_loop_ends_with_the_last_lines_of_the_log(supervisor, monkeypatch):
    monkeypatch.setattr(processes, "CRASH_LOOP", 3)
    supervisor.add(Spec("bad", [sys.executable, "-S", "-c", "print('the reason'); raise SystemExit(7)"]))
    until(lambda: supervisor.failure)
    with pytest.raises(CrashLoop, match=r"(?s)bad died 3 times.*exit code 7.*the reason"):
        supervisor.check()
    assert CrashLoop.exit_code == 3


def saying(error, code):
    """A service that logs an error as services do, and leaves."""
    line = json.dumps({"level": "error", "event": "cannot serve", "error": error})
    return [sys.executable, "-c", f"import sys; print({line!r}); print('not json'); sys.exit({code})"]


def test_a_service_that_says_trying_cannot_help_is_believed_at_once(supervisor):
    supervisor.add(Spec("host", saying("stream JOBS: max_msgs is 7, expected 100000", 2)))
    until(lambda: supervisor.failure)
    with pytest.raises(BadInput, match="host: stream JOBS: max_msgs is 7, expected 100000"):
        supervisor.check()


def test_a_crash_loop_of_a_service_is_told_in_its_own_words(supervisor, monkeypatch):
    monkeypatch.setattr(processes, "CRASH_LOOP", 3)
    supervisor.add(Spec("host", saying("NATS has no JetStream now", 3)))
    until(lambda: supervisor.failure)
    with pytest.raises(CrashLoop, match=r"died 3 times(?s:.*)NATS has no JetStream now$"):
        supervisor.check()


def test_stop_ends_stubborn_processes_and_is_bounded(tmp_path):
    made = Supervisor(tmp_path)
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    made.add(Spec("broker", SLEEP))
    made.add(Spec("stubborn", [sys.executable, "-S", "-c", stubborn]))
    until(lambda: "up" in processes.tail(made.logs / "stubborn.log"))
    pids = [made.pid("broker"), made.pid("stubborn")]
    started = time.monotonic()
    made.stop(grace_seconds=0.5)
    assert time.monotonic() - started < 20  # not their ten minutes
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not (tmp_path / "pids.json").exists()


def test_stop_lets_processes_leave_in_order(tmp_path):
    """The broker last, and none by SIGKILL: draining needs time and the broker."""
    made = Supervisor(tmp_path)
    polite = (
        "import signal, sys, time\n"
        "def leave(*_):\n    time.sleep(.5); print('left', time.monotonic(), flush=True); sys.exit(0)\n"
        "signal.signal(15, leave); print('up', flush=True)\n"
        "while True: time.sleep(1)"
    )
    for name in ("broker", "host", "replica"):
        made.add(Spec(name, [sys.executable, "-S", "-c", polite]))
    logs = {name: made.logs / f"{name}.log" for name in ("broker", "host", "replica")}
    until(lambda: all("up" in processes.tail(log) for log in logs.values()))
    made.stop(grace_seconds=5.0)
    left = {name: float(processes.tail(log).split()[-1]) for name, log in logs.items()}
    assert left["broker"] > max(left["host"], left["replica"])


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signal")
def test_children_die_with_a_killed_parent(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from tessera.cli.processes import Spec, Supervisor\n"
        f"made = Supervisor(Path({str(tmp_path)!r})); made.add(Spec('child', {SLEEP!r}))\n"
        "while not made.pid('child'): time.sleep(.02)\n"
        "time.sleep(.5); print(made.pid('child'), flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.kill()
    until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_only_our_own_leftovers_are_ended(tmp_path):
    ours = subprocess.Popen(SLEEP, env={**os.environ, processes.MARK: str(tmp_path.resolve())})
    other = subprocess.Popen(SLEEP, env={**os.environ, processes.MARK: "/elsewhere"})
    recycled = subprocess.Popen(SLEEP, env={**os.environ, processes.MARK: str(tmp_path.resolve())})
    try:
        rows = [
            {"name": "ours", "pid": ours.pid, "created": psutil.Process(ours.pid).create_time()},
            {"name": "other", "pid": other.pid, "created": psutil.Process(other.pid).create_time()},
            {"name": "recycled", "pid": recycled.pid, "created": 1.0},
            {"name": "garbage"},
        ]
        (tmp_path / "pids.json").write_text(json.dumps(rows))
        assert end_leftovers(tmp_path) == ["ours"]
        assert other.poll() is None
        assert recycled.poll() is None
    finally:
        for process in (ours, other, recycled):
            process.kill()
            process.wait()


def test_atomic_writes_replace_whole_files(tmp_path):
    path = tmp_path / "a" / "b.json"
    processes.write_atomically(path, b"one")
    processes.write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [each.name for each in path.parent.iterdir()] == ["b.json"]
