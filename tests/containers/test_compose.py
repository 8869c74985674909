"""The compose file as an operator uses it: one command brings everything up, one more takes a run to its end."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from containers.cleaning import PROJECT
from containers.engine import NATS_IMAGES, PREFIX, S3_IMAGES, TAG, chosen, image_is_here, server_image
from guide import ROOT, guided
from servers import free_port, mortal

pytestmark = [pytest.mark.docker, pytest.mark.full, pytest.mark.timeout(1500)]

COMPOSE_FILE = ("-f", "deploy/compose/compose.yaml")
SMALL = (
    "dataset.parameters.train=3",
    "dataset.parameters.val=1",
    "dataset.parameters.test=1",
    "budget.rounds=1",
    "training.epochs=1",
)
"""The demo, small; TESSERA_TEST_DEMO=whole runs it as it is."""
TOKEN = "tessera-development"  # noqa: S105  # the file's default, well known


class Compose:
    """The session's project, with its own volumes, on free ports: ``port`` is the dashboard's."""

    def __init__(self) -> None:
        whole = os.environ.get("TESSERA_TEST_DEMO") == "whole"
        self.port = free_port()
        self._environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": PROJECT,
            "TESSERA_PREFIX": PREFIX,
            "TESSERA_TAG": TAG,
            "TESSERA_PORT": str(free_port()),
            "TESSERA_HTTP_PORT": str(self.port),
            # Of the first and the second Compose: a busy engine takes its time over a container.
            "COMPOSE_HTTP_TIMEOUT": "600",
            "DOCKER_CLIENT_TIMEOUT": "600",
            "NATS_IMAGE": server_image(NATS_IMAGES),
            "S3_IMAGE": server_image(S3_IMAGES),
            "TESSERA_HTTP_TOKEN": TOKEN,
            "RECIPE": "street_meal" if whole else " --set ".join(("street_meal", *SMALL)),
        }

    def __call__(self, words: list[str], seconds: float = 900.0) -> str:
        """Run a command of the guide, which says ``docker compose``, by whichever of the two is here."""
        assert words[:2] == ["docker", "compose"]
        command = _compose()
        assert command is not None
        done = subprocess.run(
            mortal(*command, *words[2:]),
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout + done.stderr


def _compose() -> list[str] | None:
    if apart := shutil.which("docker-compose"):
        return [apart]
    engine = shutil.which("docker")
    if engine is None:
        return None
    asked = subprocess.run([engine, "compose", "version"], capture_output=True, check=False)
    return [engine, "compose"] if asked.returncode == 0 else None


@pytest.fixture
def compose() -> Iterator[Compose]:
    if chosen().backend != "docker":
        pytest.skip(f"no engine: {chosen().reason}")
    if _compose() is None:
        pytest.skip("neither docker-compose nor the compose plugin is here")
    if not image_is_here("client"):
        pytest.skip("the image of the client is not here; build it with make images")
    made = Compose()
    try:
        yield made
    finally:
        made(guided("docker compose -f deploy/compose/compose.yaml down", "deploy/README.md"), 600.0)


def test_two_commands_take_the_demo_to_its_end(compose: Compose, tmp_path: Path) -> None:
    compose(guided("docker compose -f deploy/compose/compose.yaml up -d ", "deploy/README.md"))
    shown = compose(guided("docker compose -f deploy/compose/compose.yaml run --rm demo", "deploy/README.md"))
    assert "test mIoU" in shown, shown[-2000:]
    states = compose(guided("docker compose -f deploy/compose/compose.yaml run --rm client status", "deploy/README.md"))
    assert "finished" in states or "done" in states, states
    _look_at_the_dashboard(compose.port)
    compose(guided("docker compose -f deploy/compose/compose.yaml up -d --scale", "deploy/README.md"))
    assert len(compose(["docker", "compose", *COMPOSE_FILE, "ps", "-q", "scorer"]).split()) == 3


def _look_at_the_dashboard(port: int) -> None:
    """Sign in as its operator, and go from the list of runs to a picture of what was chosen."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", follow_redirects=True, timeout=120) as client:
        home = client.post("/sign-in", data={"token": TOKEN})
        assert home.status_code == 200, home.text[:500]
        (run,) = set(re.findall(r'href="(/runs/[^/"]+)"', home.text))
        assert "mIoU" in client.get(run).text
        assert client.get(f"{run}/rounds/0").status_code == 200
        picture = client.get(f"{run}/rounds/0/pictures/0")
        assert picture.status_code == 200, picture.text[:500]
        assert "data:image/jpeg;base64," in picture.text
