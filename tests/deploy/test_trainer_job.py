"""The command of the rendered trainer job, run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.rendering import one
from integration.loop import environment


@pytest.mark.full
def test_torchrun_starts_a_trainer_that_serves_and_ends_with_success_when_there_is_nothing_to_do(
    tmp_path: Path, nats_url: str
) -> None:
    (container,) = one("keda", "ScaledJob", "trainer")["spec"]["jobTargetRef"]["template"]["spec"]["containers"]
    program, *arguments = container["command"]
    assert program == "python"
    values = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    assert float(values["TESSERA_IDLE_SECONDS"]) > 0
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=environment(
            **{
                **values,
                "TESSERA_IDLE_SECONDS": "2",
                "TESSERA_NATS_URL": nats_url,
                "TESSERA_STORE": (tmp_path / "store").as_uri(),
                "TESSERA_CACHE_DIR": str(tmp_path / "cache"),
            }
        ),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert '"event": "serving"' in done.stderr
    assert "leaving: there was nothing to do" in done.stderr
