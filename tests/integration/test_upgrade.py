"""A run that an older version began is read, continued and compared by this one, from its folder on the disk."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from integration.loop import environment, heed_interrupts, selections, summary, tessera, until

pytestmark = pytest.mark.full
OLD = "2277d4b6c468b60dfc1aaed7b8a505d85a282447"
"""A commit before metrics, traces, access and the dashboard, whose methods have the versions of now."""


def unpack(folder: Path) -> str:
    """The old version's source; returns the PYTHONPATH of its processes."""
    root = Path(__file__).parents[2]
    asked = ["git", "-C", str(root), "archive", OLD, "shared", "services", "recipes", "pyproject.toml"]
    packed = subprocess.run(asked, capture_output=True, check=False)
    if packed.returncode != 0:
        pytest.skip(f"the commit {OLD} is not in this checkout: {packed.stderr.decode()[:200]}")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return os.pathsep.join(str(each) for each in (folder / "shared", folder))


def test_an_old_run_is_continued_read_and_compared(recipe: Path, reference: Path, tmp_path: Path) -> None:
    path = unpack(tmp_path / "old")
    code = "import tessera; print(tessera.__file__)"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(PYTHONPATH=path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(loaded.stdout.strip()).is_relative_to(tmp_path), "the old version is what runs"
    out, log = tmp_path / "run", tmp_path / "old.log"
    command = [sys.executable, "-m", "tessera.cli.main", "run", str(recipe), "--out", str(out), "--seed", "5"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=file,
            env=environment(PYTHONPATH=path),
            cwd=tmp_path,
            preexec_fn=heed_interrupts,
        )
    try:
        until(lambda: "round 1/" in log.read_text() or process.poll() is not None, 120, "the second round")
        assert process.poll() is None, log.read_text()[-2000:]
        process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    # Read: what the old version left, before anything goes on.
    audited = tessera("audit", "--out", out)
    assert audited.returncode == 0, audited.stdout + audited.stderr
    assert "running" in audited.stdout
    answers = {file.name: file.read_bytes() for file in (out / "stack" / "store" / "jobs" / "Answer").glob("*.json")}
    assert answers
    done = tessera("resume", out)
    assert done.returncode == 0, done.stderr
    assert selections(out) == selections(reference)
    assert [each["test"]["iou"] for each in summary(out)["rounds"]] == [
        each["test"]["iou"] for each in summary(reference)["rounds"]
    ]
    for name, content in answers.items():
        assert (out / "stack" / "store" / "jobs" / "Answer" / name).read_bytes() == content, "answered once"
    compared = tessera("compare", out)
    assert compared.returncode == 0, compared.stderr
    assert "tiny_meal" in compared.stdout
