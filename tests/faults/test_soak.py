"""A bounded soak: a random fault every ten seconds, and in the end nothing is wrong and nothing leaks."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from integration.loop import start, tessera, until, write_recipe

pytestmark = [pytest.mark.faults, pytest.mark.full, pytest.mark.timeout(420)]
SECONDS, EVERY, SEED = 100.0, 10.0, 20261121
RSS_PER_MINUTE, MORE_FILES = 12 << 20, 16
"""Growth of a long-lived process that is no leak in so short a time: caches, compiled kernels, arenas."""


def members(folder: Path) -> dict[str, psutil.Process]:
    """Processes of the stack by name."""
    found = {}
    with contextlib.suppress(OSError, ValueError):
        for row in json.loads((folder / "pids.json").read_bytes()):
            with contextlib.suppress(psutil.Error):
                found[row["name"]] = psutil.Process(row["pid"])
    return found


def kill(victim: psutil.Process) -> None:
    victim.kill()


def stop_and_go(victim: psutil.Process) -> None:
    """Stopped for longer than a job's ack wait would be polite."""
    victim.suspend()
    time.sleep(4)
    victim.resume()


def kill_child(victim: psutil.Process) -> None:
    children = victim.children()
    if children:
        random.choice(children).kill()


def strike(chance: random.Random, folder: Path) -> str:
    """Do one of the things that happen to processes; returns what."""
    fault, names = chance.choice(
        [
            (kill, ("host", "scorer-2", "nats")),
            (stop_and_go, ("scorer-2", "host")),
            (kill_child, ("host", "scorer-2")),
        ]
    )
    name = chance.choice(names)
    victim = members(folder).get(name)
    if victim is None:
        return f"{name} is away"
    with contextlib.suppress(psutil.Error):
        fault(victim)
    return f"{fault.__name__} {name}"


class Watch:
    """Memory and open files of every process of the stack, as long as it lives."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, int], list[tuple[float, int, int]]] = {}

    def look(self, folder: Path) -> None:
        for name, process in members(folder).items():
            with contextlib.suppress(psutil.Error):
                sample = time.monotonic(), process.memory_info().rss, process.num_fds()
                self.seen.setdefault((name, process.pid), []).append(sample)

    def grown(self) -> list[str]:
        """Processes that grew from the second half minute of their lives on."""
        found = []
        for (name, _), samples in self.seen.items():
            warm = [one for one in samples if one[0] - samples[0][0] > 30]
            if len(warm) < 2 or warm[-1][0] - warm[0][0] < 30:
                continue
            minutes = (warm[-1][0] - warm[0][0]) / 60
            slope, files = (warm[-1][1] - warm[0][1]) / minutes, warm[-1][2] - warm[0][2]
            print(f"{name}: {slope / 2**20:+.1f} MiB a minute, {files:+d} files in {60 * minutes:.0f} s")
            if slope > RSS_PER_MINUTE or files > MORE_FILES:
                found.append(f"{name}: {slope / 2**20:.1f} MiB a minute, {files} files more")
        return found


def test_a_soak_leaves_nothing_wrong_and_nothing_behind(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    folder, log, chance, watch = tmp_path / "stack", tmp_path / "up.log", random.Random(SEED), Watch()
    process = start("up", "--out", folder, "--replicas", "scorer=2", log=log)
    runs: list[str] = []
    try:
        until(lambda: "up; logs in" in log.read_text() or process.poll() is not None, 60, "tessera up")
        lines = [line.removeprefix("export ") for line in log.read_text().splitlines() if line.startswith("export ")]
        known = dict(line.split("=", 1) for line in lines)
        began = time.monotonic()
        next_fault, next_run = began + EVERY, began
        while time.monotonic() - began < SECONDS:
            now = time.monotonic()
            if now >= next_run and len(runs) < 6:
                next_run = now + 20
                # The client may meet a coordinator that is away; submitting is idempotent.
                sent = tessera(
                    "submit",
                    recipe,
                    "--seed",
                    len(runs) % 3,
                    "--set",
                    f"budget.per_round={6 + len(runs) // 3}",
                    **known,
                )
                runs += [sent.stdout.strip()] if sent.returncode == 0 else []
            if now >= next_fault:
                next_fault = now + EVERY
                print(f"{now - began:5.0f} s: {strike(chance, folder)}")
            watch.look(folder)
            time.sleep(0.5)
            assert process.poll() is None, log.read_text()
        assert len(runs) >= 3
        digests = {}
        for run in runs:
            ended = until(lambda run=run: _ended(run, known), 150, f"the end of {run}")
            assert " done " in ended, ended
            audited = tessera("audit", run, "--out", folder, "--json", **known)
            assert audited.returncode == 0, audited.stdout + audited.stderr
            digests[run] = json.loads(audited.stdout)["digest"]
        watch.look(folder)
        assert len(set(digests.values())) == len(digests), "different seeds and budgets"
        assert not watch.grown()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(40)
    calm = tessera("run", recipe, "--out", tmp_path / "calm", "--seed", 0, "--set", "budget.per_round=6")
    assert calm.returncode == 0, calm.stderr
    told = tessera("audit", "--out", tmp_path / "calm", "--same-as", digests[runs[0]])
    assert told.returncode == 0, told.stdout
    print(f"{len(runs)} runs, no violation")


def _ended(run: str, known: dict[str, str]) -> str:
    told = tessera("status", run, **known).stdout
    return told if any(f" {word} " in told for word in ("done", "failed", "cancelled")) else ""
