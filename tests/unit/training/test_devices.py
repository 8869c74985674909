"""No step of a training, and no prediction, mixes tensors of the CPU with those of a device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

from tessera.training import METHODS

TESTS = Path(__file__).parents[2]


@pytest.mark.full
@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch cannot add a device from Python",
)
def test_every_method_and_the_predictor_keep_to_their_device():
    """A CPU accepts what a GPU refuses; a device that keeps its numbers on the CPU refuses it too."""
    found = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-W", "ignore", "-m", "unit.training.devices", *METHODS.names()]
    done = subprocess.run(command, env=found, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    expected = [f"trained {name} {how}" for name in METHODS.names() for how in ("fine-tuned", "frozen")]
    assert done.stdout.splitlines() == ["refused", *expected, "predicted"]
