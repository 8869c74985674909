"""Small street runs through the real command line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import yaml

# Less than a test has (pyproject.toml), so that a command that hangs is named; PYTEST_TIMEOUT moves both.
TIMEOUT = float(os.environ.get("PYTEST_TIMEOUT", "300")) - 20.0

RECIPE: dict[str, Any] = {
    "recipe": "tiny_meal",
    "description": "The smallest run in which every service has work.",
    "dataset": {
        "name": "street",
        "parameters": {"height": 64, "width": 96, "train": 2, "val": 1, "test": 1, "frames": 3, "seed": 3},
    },
    "partition": {"name": "grid", "rows": 4, "cols": 4},
    "query": {"name": "mask"},
    "oracle": {"name": "simulated"},
    "model": {"name": "deeplabv3plus_mobilenetv2", "output_stride": 16, "width": 0.25, "pretrained": "random"},
    "score": [{"name": "entropy", "aggregate": "mean"}],
    "selection": {
        "initial": [{"name": "random_images", "images": 1}],
        "shortlist": [{"name": "top", "count": 24, "by": "entropy_mean"}],
        "embedding": {"features": {"name": "backbone"}, "projection": {"name": "pca"}, "fit_on": "pool"},
        "stages": [{"name": "kmeans_plusplus"}],
    },
    "budget": {"unit": "regions", "per_round": 8, "rounds": 2},
    "training": {
        "name": "supervised",
        "frozen": False,
        "backbone_norm": "train",
        "epochs": 1,
        "final_epochs": None,
        "batch": 4,
    },
    "checkpoint": "last",
    "evaluate": ["val", "test"],
    # Several shards, so that replicas have something to share.
    "runtime": {"shard_images": 2},
}


def write_recipe(folder: Path, **changes: Any) -> Path:
    """The tiny recipe as a file, with top-level sections replaced."""
    path = folder / "tiny.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**RECIPE, **changes}))
    return path


def environment(**changes: str) -> dict[str, str]:
    """The test's environment without settings of the machine that would change a run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
    return {**kept, "TESSERA_CORES": "1", **changes}


def command(*arguments: object) -> list[str]:
    """The command line as a user runs it."""
    return [sys.executable, "-m", "tessera.cli.main", *[str(each) for each in arguments]]


def tessera(
    *arguments: object, cwd: Path | None = None, timeout: float = TIMEOUT, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(**env),
        cwd=cwd,
        check=False,
    )


_started: list[subprocess.Popen[bytes]] = []


def start(*arguments: object, log: Path, cwd: Path | None = None, **env: str) -> subprocess.Popen[bytes]:
    """Start a command in the background, its output in a file; `end_started` ends it at the latest."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            command(*arguments),
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            env=environment(**env),
            cwd=cwd,
            preexec_fn=heed_interrupts,
        )
    _started.append(process)
    return process


def end_started() -> None:
    """End the commands that `start` began and that still run: a run that waits for a server would wait for ever."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()


def heed_interrupts() -> None:
    """Ctrl-C reaches a foreground command; tests that a shell runs in the background inherit that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def summary(out: Path) -> dict[str, Any]:
    """``summary.json`` of a run."""
    return json.loads((out / "summary.json").read_bytes())


def selections(out: Path) -> list[str]:
    """``selection_sha256`` of every round."""
    return [entry["selection_sha256"] for entry in summary(out)["rounds"]]


def labelled(out: Path) -> list[tuple[str, int]]:
    """Every region that was selected, over all rounds."""
    found: list[tuple[str, int]] = []
    for path in sorted((out / "selections").glob("round_*.parquet")):
        table = pq.read_table(path)
        found += list(zip(table["image_id"].to_pylist(), table["region_id"].to_pylist(), strict=True))
    return found


def ledger(out: Path) -> dict[str, list[Any]]:
    """The answers of all rounds, by column."""
    return pq.read_table(out / "ledger.parquet").to_pydict()


def repeated(people: Path, simulated: Path, query: str) -> dict[str, list[Any]]:
    """The ledger of a run that people answered, which equals that of the simulated run but for annotator and time."""
    assert selections(people) == selections(simulated)
    for one, other in zip(summary(people)["rounds"], summary(simulated)["rounds"], strict=True):
        for split in ("val", "test"):
            assert one[split] == other[split], split
    told, known = ledger(people), ledger(simulated)
    # Who answered and when, and ids that are made from them; the time of a named class is modelled by what was named.
    free = {"run", "oracle", "event_id"} | ({"seconds", "seconds_model"} if query == "dominant" else set())
    for column in known.keys() - free:
        assert told[column] == known[column], column
    return told


def until(condition: Callable[[], Any], seconds: float = 60.0, what: str = "condition") -> Any:
    """Wait for a true value and return it."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"timed out waiting for {what}"
        time.sleep(0.02)
    return value


def member(out: Path, name: str) -> psutil.Process | None:
    """A process of the run's local stack by its name in pids.json."""
    try:
        rows = json.loads((out / "stack" / "pids.json").read_bytes())
        return next(psutil.Process(row["pid"]) for row in rows if row["name"] == name)
    except (OSError, ValueError, StopIteration, psutil.Error):
        return None


def compute_children(out: Path) -> Iterator[psutil.Process]:
    """Compute children of the host process."""
    host = member(out, "host")
    if host is not None:
        try:
            yield from host.children(recursive=True)
        except psutil.Error:
            return


def files(folder: Path, patterns: Sequence[str] = ("*",)) -> list[Path]:
    """Files below a folder."""
    return [path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()]
