"""Output and files of commands: no password, no escape codes, one clear line when a server is away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.loop import tessera, write_recipe
from servers import NatsProcess, free_port, running
from tessera.cli import dead, remote
from tessera.cli.progress import ProgressBar, show
from tessera.pb import runs_pb2 as pb
from tessera.pb.jobs_pb2 import JobEnvelope, JobFailure
from tessera.runtime import topology
from tessera.runtime.child import environment
from tessera.runtime.dead_letters import DeadLetters
from tessera.runtime.messaging import connect
from tessera.runtime.settings import load

SECRET = "pa55-w0rd"  # noqa: S105  # of a server that lives as long as one test
EVIL = "lunch\x1b[2J\x1b]0;owned\x07\nrun done\u202e\x9b31m"


class GuardedNats(NatsProcess):
    """A server that asks for a name and a password."""

    def arguments(self) -> list[str]:
        arguments = super().arguments()
        with (self.folder / "nats.conf").open("a") as file:
            file.write(f'authorization {{ user: "tessera", password: "{SECRET}" }}\n')
        return arguments

    @property
    def url(self) -> str:
        return f"nats://tessera:{SECRET}@127.0.0.1:{self.port}"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[GuardedNats]:
    server = GuardedNats(tmp_path / "guarded")
    with running(server):
        yield server


def assert_clean(text: str) -> None:
    for secret in (SECRET, "pa55"):
        assert secret not in text
    assert "Traceback" not in text
    assert text.replace("\n", "").replace("\t", "").isprintable()


def test_no_command_prints_the_password_of_a_server(guarded: GuardedNats, tmp_path: Path) -> None:
    refused = guarded.url.replace("tessera:", "stranger:")
    for url, arguments in ((guarded.url, ["doctor"]), (guarded.url, ["dlq", "list"]), (refused, ["dlq", "list"])):
        done = tessera(*arguments, "--nats", url)
        assert f"***@127.0.0.1:{guarded.port}" in done.stdout + done.stderr or arguments[0] == "dlq"
        assert_clean(done.stdout + done.stderr)


def test_a_run_says_and_stores_no_password(tmp_path: Path) -> None:
    port = free_port()
    url = f"nats://tessera:{SECRET}@127.0.0.1:{port}"
    done = tessera("run", write_recipe(tmp_path), "--out", tmp_path / "out", "--nats", url)
    assert done.returncode == 3
    assert f"NATS at nats://***@127.0.0.1:{port} does not answer" in done.stderr
    assert_clean(done.stdout + done.stderr)
    assert (tmp_path / "out" / "run.json").stat().st_mode & 0o777 == 0o600
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert b"pa55" not in path.read_bytes(), path
    assert json.loads((tmp_path / "out" / "run.json").read_bytes())["nats"] == f"nats://127.0.0.1:{port}"


@pytest.mark.full
def test_the_password_is_taken_up_again_from_the_environment(guarded: GuardedNats, tmp_path: Path) -> None:
    port = guarded.port
    guarded.stop()
    recipe = write_recipe(tmp_path)
    tessera("run", recipe, "--out", tmp_path / "out", "--nats", guarded.url)
    guarded.start()
    done = tessera("resume", tmp_path / "out", TESSERA_NATS_URL=guarded.url)
    assert done.returncode == 0, done.stderr
    assert_clean(done.stdout + done.stderr)
    assert guarded.port == port
    for path in (tmp_path / "out" / "stack" / "logs").iterdir():
        assert "pa55" not in path.read_text()


def test_compute_children_get_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_NATS_URL", f"nats://user:{SECRET}@broker:4222")
    assert not [value for value in environment(load()).values() if SECRET in value]


@pytest.mark.parametrize("arguments", [["dlq", "list"], ["doctor"]])
def test_a_server_that_is_away_is_one_line(arguments: list[str]) -> None:
    done = tessera(*arguments, "--nats", f"nats://127.0.0.1:{free_port()}")
    assert done.returncode == 3
    assert len([line for line in done.stderr.splitlines() if line]) <= 1, done.stderr
    assert "nats" not in done.stderr.splitlines()
    about = [line for line in (done.stdout + done.stderr).splitlines() if "NATS at" in line]
    assert len(about) == 1, about


def view(**fields: object) -> pb.RunView:
    return pb.RunView(spec=pb.RunSpec(run_id=EVIL), status=pb.RUN_STATUS_CANCELLED, message=EVIL, step=EVIL, **fields)


def test_foreign_text_in_a_status_line_is_harmless() -> None:
    assert remote.describe(view()).isprintable()


def test_foreign_text_in_progress_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(EVIL) as bar:
        show(bar, pb.WatchRunResponse(run=view(), fraction=0.5, note=EVIL))
        bar.line(EVIL)
    assert_clean(capsys.readouterr().err)


async def test_foreign_text_in_dead_letters_is_harmless(nats_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    messaging = await connect(nats_url, name="test")
    try:
        await topology.ensure(messaging, load(), ["train"])
        failure = JobFailure(
            job_key=EVIL, method=EVIL, reason=EVIL, message=EVIL, envelope=JobEnvelope(job_key=EVIL, run_id="r")
        )
        await DeadLetters(messaging).add("train", failure, 1)
    finally:
        await messaging.close()
    listed = tessera("dlq", "list", "--nats", nats_url)
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) == 1
    assert_clean(listed.stdout + listed.stderr)


def test_every_line_goes_through_one_function() -> None:
    """Nothing but `output` (and the bars of `progress`) writes to the terminal."""
    room = Path(dead.__file__).parent
    writers = [
        path.name
        for path in room.glob("*.py")
        if any(word in path.read_text() for word in ("sys.stdout", "sys.stderr.write", "print(", "typer.echo"))
    ]
    assert sorted(writers) == ["output.py", "progress.py"]
