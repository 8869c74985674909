"""Processes are killed in mid-round; the run ends with the same selections and counts every label once."""

from __future__ import annotations

import signal

import psutil
import pytest

from integration.loop import TIMEOUT, compute_children, labelled, member, selections, start, summary, tessera, until

pytestmark = pytest.mark.faults


def begin(recipe, out, log, **env):
    """Start a run and wait until its first round is written: the second is under way then."""
    process = start("run", recipe, "--out", out, "--seed", 5, log=log, **env)
    until(lambda: (out / "selections" / "round_00.parquet").exists() or process.poll() is not None, TIMEOUT, "round 0")
    assert process.poll() is None, log.read_text()
    return process


def check_same(out, reference):
    """Same selections, every label once, same costs."""
    assert selections(out) == selections(reference)
    assert len(labelled(out)) == len(set(labelled(out))) == 32
    for key in ("regions_labelled", "clicks", "pixels_labelled", "images_touched"):
        assert [entry[key] for entry in summary(out)["rounds"]] == [
            entry[key] for entry in summary(reference)["rounds"]
        ]


def kill_compute_child(out):
    victim = until(lambda: next(compute_children(out), None), 20, "a compute child")
    victim.kill()


def kill_host(out):
    victim = until(lambda: member(out, "host"), 20, "the host")
    victim.kill()
    until(lambda: (host := member(out, "host")) and host.pid != victim.pid, 20, "another host")


def kill_nats(out):
    victim = until(lambda: member(out, "nats"), 20, "nats-server")
    victim.kill()
    until(lambda: (server := member(out, "nats")) and server.pid != victim.pid, 20, "another nats-server")


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=pytest.mark.full) for fault in (kill_host, kill_compute_child, kill_nats)]
)
def test_a_killed_part_of_the_stack_is_replaced(fault, recipe, reference, tmp_path):
    out = tmp_path / "out"
    process = begin(recipe, out, tmp_path / "log")
    try:
        fault(out)
        assert process.wait(TIMEOUT) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()
    check_same(out, reference)


def test_a_killed_run_is_resumed(recipe, reference, tmp_path):
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    process = begin(recipe, out, tmp_path / "log", TESSERA_SCRATCH_DIR=str(scratch))
    stack = [member(out, name) for name in ("nats", "host")]
    process.kill()
    process.wait()
    # The stack dies with its command line, whatever killed that.
    until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in stack if each), 20)
    assert list(scratch.glob("tessera-scratch-*")), "whoever is killed cannot tidy up"
    done = tessera("resume", out, TESSERA_SCRATCH_DIR=str(scratch))
    assert done.returncode == 0, done.stderr
    check_same(out, reference)
    assert list(scratch.iterdir()) == [], "whoever comes next does"


@pytest.mark.full
def test_an_interrupted_run_says_how_to_go_on_and_does(recipe, reference, tmp_path):
    out = tmp_path / "out"
    process = begin(recipe, out, tmp_path / "log")
    process.send_signal(signal.SIGINT)
    assert process.wait(90) == 130
    assert f"tessera resume {out}" in (tmp_path / "log").read_text()
    # The same command goes on as well as `resume` does.
    done = tessera("run", recipe, "--out", out, "--seed", 5)
    assert done.returncode == 0, done.stderr
    check_same(out, reference)


@pytest.mark.full
def test_a_lost_event_log_costs_time_and_no_labels(recipe, reference, tmp_path):
    import shutil

    out = tmp_path / "out"
    process = begin(recipe, out, tmp_path / "log")
    process.kill()
    process.wait()
    until(lambda: member(out, "nats") is None or not member(out, "nats").is_running(), 20)
    shutil.rmtree(out / "stack" / "nats")
    done = tessera("resume", out)
    assert done.returncode == 0, done.stderr
    check_same(out, reference)
