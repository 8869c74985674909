"""Failures are one line and an exit code, never a traceback."""

import importlib
import resource
import subprocess
import sys

import pytest

from tessera.cli.output import RESUME_HINT, guarded
from tessera.errors import BadInput, Cancelled, JobFailedError, Unavailable


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInput("budget: too large"), 2),
        (JobFailedError("train failed"), 3),
        (Unavailable("NATS does not answer"), 3),
        (Cancelled("was cancelled"), 130),
        (OSError(28, "No space left on device", "/out/x"), 3),
        (ZeroDivisionError("oops"), 3),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2),
        (ModuleNotFoundError("No module named 'tessera.gone'", name="tessera.gone"), 3),
    ],
)
def test_exit_codes(error, code, capsys):
    @guarded
    def fail():
        raise error

    with pytest.raises(SystemExit) as caught:
        fail()
    assert caught.value.code == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert "Traceback" not in shown.err


def test_a_package_that_is_not_installed_is_named_with_the_way_to_get_it(capsys):
    @guarded
    def fail():
        importlib.import_module("torchless")

    with pytest.raises(SystemExit):
        fail()
    assert capsys.readouterr().err == (
        "error: this command needs the package torchless; install it: pip install 'tessera-al[cli]'\n"
    )


def test_interrupting_names_the_way_on(capsys, monkeypatch):
    monkeypatch.setattr("tessera.cli.output.RESUME_HINT", ["tessera resume runs/x"])

    @guarded
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        fail()
    assert caught.value.code == 130
    assert "continue with: tessera resume runs/x" in capsys.readouterr().err
    assert RESUME_HINT == []


@pytest.mark.parametrize(
    ("error", "named"),
    [(Unavailable("the store is away"), True), (JobFailedError("no"), True), (BadInput("no"), False)],
)
def test_a_failure_that_can_be_mended_names_the_way_on(error, named, capsys, monkeypatch):
    monkeypatch.setattr("tessera.cli.output.RESUME_HINT", ["tessera resume runs/x"])

    @guarded
    def fail():
        raise error

    with pytest.raises(SystemExit):
        fail()
    assert ("continue with: tessera resume runs/x" in capsys.readouterr().err) is named


def test_control_characters_do_not_reach_the_terminal(capsys):
    @guarded
    def fail():
        raise BadInput("image \x1b[2J\x07.png")

    with pytest.raises(SystemExit):
        fail()
    assert "\x1b" not in capsys.readouterr().err


def test_help_is_immediate_and_imports_nothing_heavy():
    program = (
        "import sys; sys.argv = ['tessera', '--help']\n"
        "from tessera.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'grpc', 'nats', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "compare" in done.stdout
    # 0.1 s of CPU time, which a busy machine gives it later; the bound leaves room.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
