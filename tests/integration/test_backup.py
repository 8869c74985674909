"""A backup by rclone while a run goes on, the loss of everything, and the run from the backup on new servers."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from guide import file_of, guided
from integration.loop import selections, start, summary, tessera, until
from servers import ACCESS_KEY, SECRET_KEY, NatsProcess, S3Process, find_binary, running

pytestmark = [pytest.mark.faults, pytest.mark.full]


def rclone(arguments: list[str], config: Path) -> None:
    program = find_binary("rclone")
    assert program is not None
    done = subprocess.run(
        [str(program), "--config", str(config), *arguments[1:]],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def configure(path: Path, server: S3Process, backup: Path) -> None:
    """rclone.conf as the guide shows it: the store of this server, and a folder for the backup."""
    shown = file_of("docs/operations.md", "[store]")
    own = {
        "https://s3.example.org": f"http://{server.endpoint}",
        "= KEY": f"= {ACCESS_KEY}",
        "= SECRET": f"= {SECRET_KEY}",
        "other:tessera-backup": str(backup),
    }
    for theirs, ours in own.items():
        assert shown.count(theirs) == 1, theirs
        shown = shown.replace(theirs, ours)
    path.write_text(shown)


def up(folder: Path, nats: NatsProcess, log: Path, **env: str):
    process = start("up", "--out", folder, "--nats", nats.url, "--store", "s3://tessera/runs", log=log, **env)
    until(lambda: "up; logs in" in log.read_text() or process.poll() is not None, 60, "tessera up")
    assert process.poll() is None, log.read_text()
    found = re.findall(r"^export (\w+)=(\S+)$", log.read_text(), re.MULTILINE)
    return process, {**env, **dict(found)}


def test_a_run_ends_from_its_backup_as_it_would_have(recipe: Path, reference: Path, tmp_path: Path) -> None:
    config, backup = tmp_path / "rclone.conf", tmp_path / "backup"
    with running(NatsProcess(tmp_path / "nats-1")) as nats, running(S3Process(tmp_path / "s3-1")) as s3:
        assert isinstance(nats, NatsProcess)
        assert isinstance(s3, S3Process)
        configure(config, s3, backup)
        process, known = up(tmp_path / "first", nats, tmp_path / "first.log", **s3.environment())
        try:
            run = tessera("submit", recipe, "--seed", 5, **known).stdout.strip()
            until(lambda: "round 1/" in tessera("status", run, **known).stdout, 120, "the second round")
            # While it goes on.
            rclone(guided("rclone copy --exclude", "docs/operations.md"), config)
            rclone(guided("rclone copy store:tessera/runs/cas", "docs/operations.md"), config)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
    # Other servers, which know nothing.
    with running(NatsProcess(tmp_path / "nats-2")) as nats, running(S3Process(tmp_path / "s3-2")) as s3:
        assert isinstance(nats, NatsProcess)
        assert isinstance(s3, S3Process)
        configure(config, s3, backup)
        rclone(guided("rclone copy backup: store:", "docs/operations.md"), config)
        answered = {path.name for path in (s3.data / s3.bucket / "runs" / "jobs" / "Answer").glob("*.json")}
        assert answered
        process, known = up(tmp_path / "second", nats, tmp_path / "second.log", **s3.environment())
        try:
            assert "no runs" in tessera("status", **known).stdout
            _, *rebuild = guided("tessera rebuild", "docs/operations.md")
            rebuilt = tessera(*rebuild, **known)
            assert rebuilt.returncode == 0, rebuilt.stderr
            assert run in rebuilt.stdout
            done = tessera("watch", run, "--out", tmp_path / "out", **known)
            assert done.returncode == 0, done.stderr
            again = tessera(*rebuild, **known)
            assert "every run that the store knows is there" in again.stdout
            _, *audit = guided("tessera audit --all", "docs/operations.md")
            audited = tessera(*audit, **known)
            assert audited.returncode == 0, audited.stdout
            assert run in audited.stdout
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
    assert selections(tmp_path / "out") == selections(reference)
    assert summary(tmp_path / "out")["rounds"][-1]["clicks"] == summary(reference)["rounds"][-1]["clicks"]
