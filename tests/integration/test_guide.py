"""The commands of docs/deploy.md, executed as they are written, on a stack of local processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from guide import ROOT, guided
from integration.loop import end_started, start, tessera, until
from servers import find_binary

SECONDS = 250.0


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[dict[str, str]]:
    """``tessera up``, with the settings that it says to export."""
    log = tmp_path / "up.log"
    process = start("up", "--out", tmp_path / "stack", log=log)
    until(lambda: "up; logs in" in log.read_text() or process.poll() is not None, 120, "tessera up")
    told = [line.removeprefix("export ") for line in log.read_text().splitlines() if line.startswith("export ")]
    yield dict(line.split("=", 1) for line in told)
    end_started()


@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_run_by_the_guide_from_doctor_to_gc(stack: dict[str, str], recipe: Path, tmp_path: Path) -> None:
    def run(words: list[str], **replaced: str) -> str:
        words = [replaced.get(word, word) for word in words[1:]]
        done = tessera(*words, cwd=tmp_path, timeout=SECONDS, **stack)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    run(guided("tessera topology"))
    run(guided("tessera doctor"))
    # The guide's recipe takes a minute; this one is of the same kind.
    name = run(guided("tessera submit"), street_meal=str(recipe)).split()[-1]
    assert name in run(guided("tessera status"))
    run(guided("tessera watch"), RUN=name)
    assert json.loads((tmp_path / guided("tessera watch")[-1] / "summary.json").read_bytes())["rounds"]
    run(guided("tessera audit"), RUN=name)
    run(guided("tessera gc"))
    run(guided("tessera dlq list"))


def test_the_overlay_that_the_guide_applies_is_rendered() -> None:
    kubectl = find_binary("kubectl")
    assert kubectl is not None
    words = guided("kubectl kustomize")
    done = subprocess.run([kubectl, *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "name: topology" in done.stdout
