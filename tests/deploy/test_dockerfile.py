"""The Dockerfile has an image for every service, and each is built by `make images`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/__main__.py"))


def _stages() -> dict[str, str]:
    """Text of each stage by its name."""
    parts = re.split(r"^FROM \S+ AS ([\w-]+)$", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_an_image_that_is_built(service: str) -> None:
    assert f'CMD ["python", "-m", "services.{service}"]' in _stages()[service]
    targets = re.search(r"TARGETS:-([\w ]+)", (DOCKER / "build.sh").read_text())
    assert targets is not None
    assert service in targets[1].split()


def test_every_script_and_lock_that_is_copied_is_there() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    for name in re.findall(r"(?:locks|deploy/docker)/[\w.-]+\.\w+", text):
        assert (ROOT / name).exists(), name


def test_no_shipped_stage_runs_as_root_or_installs() -> None:
    stages = _stages()
    assert "USER 10001:10001" in stages["bare"]
    for name in (*SERVICES, "client", "torch", "with-coordinator", "with-oracle", "with-partitioner"):
        assert "\nRUN " not in stages[name], f"{name}: what is shipped is copied from stages that build"
        assert "\nUSER " not in stages[name]
