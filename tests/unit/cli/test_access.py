"""``tessera token``: a token that works, its hash in the file, and nothing else."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from guide import guided
from integration.loop import tessera
from tessera.cli.access import add
from tessera.errors import BadInput
from tessera.runtime.access import Access, Proof, Role


def test_the_commands_of_the_guide_make_two_operators_and_a_viewer(tmp_path: Path) -> None:
    tokens = {}
    for words in (guided("tessera token alice"), guided("tessera token dashboard"), guided("tessera token visitor")):
        *command, arrow, file = words
        assert arrow == ">"
        done = tessera(*command[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        tokens[file] = done.stdout.strip()
    access = Access(tmp_path / "access")
    assert {file: access.caller(Proof(token)).roles for file, token in tokens.items()} == {
        "alice.token": {Role.OPERATOR},
        "dashboard.token": {Role.OPERATOR},
        "visitor.token": {Role.VIEWER},
    }


def test_the_command_prints_a_token_that_the_file_knows(tmp_path: Path) -> None:
    file = tmp_path / "access"
    done = tessera("token", "ci", "--role", "operator", "--role", "viewer", "--file", file)
    assert done.returncode == 0, done.stderr
    token = done.stdout.strip()
    assert Access(file).caller(Proof(token)).roles == {Role.OPERATOR, Role.VIEWER}
    assert token not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_callers_are_added_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "access"
    file.write_text("# people\nmachine viewer cn:machine")
    tokens = [add(name, ["viewer"], file) for name in ("one", "two")]
    access = Access(file)
    assert [access.caller(Proof(token)).name for token in tokens] == ["one", "two"]
    assert access.caller(Proof(names=("cn:machine",))).name == "machine"
    with pytest.raises(BadInput, match="has a line for one; remove it"):
        add("one", ["operator"], file)


def test_a_file_of_something_else_is_not_written_to(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text("my notes\n")
    with pytest.raises(BadInput, match="line 1"):
        add("one", ["viewer"], file)
    assert file.read_text() == "my notes\n"
