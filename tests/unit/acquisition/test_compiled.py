"""Kernels without numba: what a build compiles beforehand chooses the same regions, and what it lacks is named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tessera import compile
from tessera.acquisition.clustering import best_per_cluster_kernel
from tessera.errors import TesseraError

ROOT = Path(__file__).parents[3]
CHOSEN = ROOT / "tests" / "unit" / "acquisition" / "selection" / "chosen.py"
WITHOUT = "import runpy, sys; sys.modules['numba'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
NAME = f"{best_per_cluster_kernel.__name__}.best_rows"


def _run(*arguments: object, path: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    places = (ROOT / "tests", ROOT / "shared", *path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_kernels_compiled_beforehand_choose_the_same_regions(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("there is no g++, which builds the kernels of the selector's image")
    built = _run(ROOT / "deploy" / "docker" / "kernels.py", tmp_path, "x86-64-v3")
    assert built.returncode == 0, built.stderr
    here = _run(CHOSEN)
    there = _run("-c", WITHOUT, CHOSEN, path=(tmp_path,))
    assert (here.stderr, there.stderr) == ("with numba\n", "without numba\n"), here.stderr + there.stderr
    assert here.stdout == there.stdout
    assert len(here.stdout.splitlines()) > 50


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> object:
    """The kernel as an image without numba has it, compiled for one combination of types."""
    source = best_per_cluster_kernel.best_rows.py_func
    package = types.ModuleType(compile.COMPILED)
    package.__dict__["FORMS"] = {NAME: {"<i8:1,<f8:1,<f8:1,<i8:1": source}}
    package.__dict__["SOURCES"] = {source.__module__: compile.source_sha256(source.__module__)}
    monkeypatch.setitem(sys.modules, compile.COMPILED, package)
    monkeypatch.setattr(compile, "numba", None)
    return compile.kernel(source)


def _arguments(kind: type) -> tuple[np.ndarray, ...]:
    return np.array([0, 1, 0]), np.array([1, 2, 3], kind), np.empty(2, kind), np.full(2, -1)


def test_a_form_is_found_by_the_types_of_the_arguments(kernel) -> None:
    given = _arguments(np.float64)
    assert kernel(*given) == -1
    assert given[-1].tolist() == [2, 1]
    with pytest.raises(TesseraError, match=r"best_rows: is not compiled for \(<i8:1,<f4:1.* install numba, or"):
        kernel(*_arguments(np.float32))
    labels, _, best, rows = given
    with pytest.raises(TesseraError, match="is not contiguous"):
        kernel(labels, np.arange(6.0)[::2], best, rows)


def test_types_are_told_apart_as_numba_tells_them_apart() -> None:
    values = (1, 1.0, True, np.int32(1), np.float32(1), np.zeros((2, 3), np.int32), (np.zeros(1), 2.0))
    assert compile.types_of(values) == "int64,float64,bool,int32,float32,<i4:2,(<f8:1,float64)"


def test_kernels_of_another_source_are_refused(kernel) -> None:
    sys.modules[compile.COMPILED].__dict__["SOURCES"] = {}
    with pytest.raises(TesseraError, match="from another source; build the image again"):
        kernel(*_arguments(np.float64))


def test_without_numba_and_without_compiled_kernels_the_kernel_is_named(
    kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, compile.COMPILED, None)
    with pytest.raises(TesseraError, match="best_rows: numba is not installed; install it"):
        kernel(*_arguments(np.float64))


def test_without_numba_the_threads_are_those_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile, "numba", None)
    monkeypatch.setattr(compile, "_threads", 1)
    compile.set_threads(3)
    assert compile.threads() == 3
