"""Libraries are told their thread count when they are loaded, not only before a job."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import os, sys
os.environ["NUMBA_NUM_THREADS"] = "2"
from tessera.runtime import child_threads
child_threads.install()
child_threads.set_threads(1)
import {module}
first = {count}
child_threads.set_threads(2)
second = {count}
print(first, second)
"""


@pytest.mark.parametrize(
    ("module", "count"),
    [
        ("cv2", "cv2.getNumThreads()"),
        ("numba", "numba.get_num_threads()"),
        ("torch", "torch.get_num_threads()"),
        # They may share an OpenMP runtime, whose count numba sets when it is first told its own.
        ("torch, numba", "torch.get_num_threads()"),
    ],
)
def test_a_library_follows_from_its_import_on(module: str, count: str) -> None:
    for each in module.split(", "):
        pytest.importorskip(each)
    script = _SCRIPT.format(module=module, count=count)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["1", "2"], done.stderr
