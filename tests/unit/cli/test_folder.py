"""A results folder belongs to one run and to one process at a time."""

import subprocess
import sys

import pytest

from tessera.cli import folder
from tessera.cli.folder import RunFile
from tessera.errors import BadInput
from tessera.pb.runs_pb2 import RunSpec


def record(run_id="tiny-s0-00000000"):
    return RunFile(run_id, "tiny", 0, "{}", None, None, None, {})


def test_a_run_file_round_trips_with_its_spec(tmp_path):
    made = record()
    assert made.message() is None
    spec = RunSpec(run_id="tiny-s0-00000000", seed=2**63 - 1, split_sizes={"train": 3}, class_names=["a"])
    made.keep(spec)
    made.save(tmp_path)
    assert folder.read(tmp_path).message() == spec


def test_a_run_file_is_its_owners_and_keeps_no_password(tmp_path):
    made = record()
    made.nats, made.store = "nats://user:pa55word@broker:4222", "file:///home/me@corp/store"
    made.save(tmp_path)
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o600
    assert "pa55word" not in (tmp_path / "run.json").read_text()
    found = folder.read(tmp_path)
    assert (found.nats, found.store) == ("nats://broker:4222", made.store)
    assert made.nats == "nats://user:pa55word@broker:4222", "the run that goes on needs it"


def test_the_same_run_is_found_and_another_is_refused(tmp_path):
    record().save(tmp_path)
    assert folder.claim(tmp_path, record()).run_id == record().run_id
    with pytest.raises(BadInput, match=r"holds another run .tiny-s0-00000000.*tessera resume"):
        folder.claim(tmp_path, record("tiny-s1-11111111"))


def test_foreign_files_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(BadInput, match=r"thesis\.tex"):
        folder.claim(tmp_path, record())
    with pytest.raises(BadInput, match="is a file"), folder.locked(tmp_path / "thesis.tex"):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 1}', b'{"version": 99, "run_id": "x"}'])
def test_a_damaged_run_file_is_an_error(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(BadInput, match="damaged"):
        folder.read(tmp_path)


def test_a_spec_that_is_none(tmp_path):
    made = record()
    made.spec = {"runId": 7}
    with pytest.raises(BadInput, match="start again"):
        made.message()


def test_one_process_at_a_time(tmp_path):
    program = (
        "import sys; from pathlib import Path; from tessera.cli.folder import locked\n"
        f"with locked(Path({str(tmp_path)!r})): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BadInput, match=f"process {other.pid} is using this folder"), folder.locked(tmp_path):
            pass
        other.kill()
    with folder.locked(tmp_path):
        pass
