"""What an image holds, and what it does not: user, labels, size, no tools to build with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from containers.cleaning import LABEL
from containers.engine import SERVICES, chosen, image, image_is_here

pytestmark = [pytest.mark.docker, pytest.mark.full, pytest.mark.timeout(1200)]

TORCH_FREE = ("coordinator", "oracle", "partitioner", "selector", "dashboard", "client")
MOST_MEGABYTES, MOST_WITH_TORCH = 350, 1400
"""Of an image, unpacked."""
RUN = ("run", "--rm", "--label", LABEL)
TESTS = Path(__file__).parents[1]
TOOLS = "pip gcc cc ld strip apt apt-get dpkg perl bash make curl wget"


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=[*SERVICES, "dashboard", "client"])
def name(request: pytest.FixtureRequest) -> str:
    if chosen().backend != "docker":
        pytest.skip(f"no engine: {chosen().reason}")
    if not image_is_here(request.param):
        pytest.skip(f"there is no image {image(request.param)}")
    return str(request.param)


def test_an_image_is_small_labelled_and_of_no_privileged_user(name: str) -> None:
    (found,) = json.loads(_docker("image", "inspect", image(name)))
    configuration: dict[str, Any] = found["Config"]
    assert configuration["User"] == "10001:10001"
    assert {f"org.opencontainers.image.{key}" for key in ("title", "version", "revision")} <= set(
        configuration["Labels"]
    )
    most = MOST_MEGABYTES if name in TORCH_FREE else MOST_WITH_TORCH
    assert found["Size"] <= most * 1_000_000, f"{name}: {found['Size'] / 1e6:.0f} MB"
    if name != "client":
        assert "tessera.runtime.probe" in " ".join(configuration["Healthcheck"]["Test"])


def test_an_image_brings_nothing_to_build_or_install_with(name: str) -> None:
    look = f"for tool in {TOOLS}; do command -v $tool; done; find / -xdev -perm /6000 -type f 2>/dev/null; true"
    locked = ["--read-only", "--cap-drop", "ALL", "--network", "none"]
    assert _docker(*RUN, *locked, "--entrypoint", "sh", image(name), "-c", look) == ""


IMPORT_ALL = """
import importlib, importlib.util, pkgutil
import services, tessera

count = 0
for package in (tessera, services):
    for entry in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if entry.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(entry.name)
            count += 1
        except ModuleNotFoundError as error:
            # A library that other images have.
            if importlib.util.find_spec(error.name.partition(".")[0]) is not None:
                raise
print("imported", count)
"""


def test_every_module_whose_libraries_an_image_has_can_be_imported_in_it(name: str) -> None:
    locked = ["--read-only", "--cap-drop", "ALL", "--network", "none", "--env", "NUMBA_CACHE_DIR=/cache/tessera/numba"]
    said = _docker(*RUN, *locked, "--entrypoint", "python", image(name), "-c", IMPORT_ALL)
    assert int(said.split()[-1]) > 200, said


def test_the_client_draws_a_data_set_and_puts_it_into_a_store() -> None:
    """What its libraries are for: scenes are drawn, packed, read again and checked."""
    if chosen().backend != "docker" or not image_is_here("client"):
        pytest.skip(f"no image {image('client')}: {chosen().reason}")
    tessera = "python -m tessera.cli.main"
    small = "--set train=1 --set val=1 --set test=1 --set frames=2 --set height=96 --set width=160"
    does = f"{tessera} data make street /tmp/street {small} && {tessera} data import auto /tmp/street --store file:///tmp/s"
    locked = ["--read-only", "--cap-drop", "ALL", "--network", "none", "--entrypoint", "sh"]
    assert '"sha256": "' in _docker(*RUN, *locked, image("client"), "-c", does)


def test_what_the_build_left_out_is_not_missed(name: str) -> None:
    """Every module that a service's jobs load is loaded, as before its first job."""
    if name in ("client", "dashboard"):
        pytest.skip("it takes no jobs")
    code = (
        "import importlib\n"
        "from tessera.runtime import kernels, settings\n"
        "kernels.provide(settings.load())\n"
        f"handler = importlib.import_module('services.{name}.handler')\n"
        "from google.protobuf.wrappers_pb2 import StringValue\n"
        "from tessera.runtime.preparing import load\n"
        "load(StringValue(value=' '.join(getattr(handler, 'LIBRARIES', ()))), None)\n"
        "import minio, nats, grpc, pyarrow.parquet, pyarrow.compute, pyarrow.dataset\n"
        "print('loaded')\n"
    )
    # As the compute children have it: numba's files are the image's, copied to its volume, where it may write.
    locked = ["--read-only", "--cap-drop", "ALL", "--network", "none", "--env", "NUMBA_CACHE_DIR=/cache/tessera/numba"]
    assert _docker(*RUN, *locked, "--entrypoint", "python", image(name), "-c", code) == "loaded\n"


def test_the_selectors_image_has_no_compiler_and_chooses_what_is_chosen_outside() -> None:
    if chosen().backend != "docker" or not image_is_here("selector"):
        pytest.skip(f"no image {image('selector')}: {chosen().reason}")
    program = "unit/acquisition/selection/chosen.py"
    mounted = ["--volume", f"{TESTS}:/tests:ro", "--env", "PYTHONPATH=/opt/app:/opt/kernels:/tests"]
    locked = ["--read-only", "--cap-drop", "ALL", "--network", "none"]
    there = _docker(*RUN, *locked, *mounted, "--entrypoint", "python", image("selector"), f"/tests/{program}")
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, str(TESTS / program)]
    here = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert there == here.stdout
    assert len(there.splitlines()) > 50
    look = "import importlib.util as u; print(*(name for name in ('numba', 'llvmlite') if u.find_spec(name)))"
    assert _docker(*RUN, *locked, "--entrypoint", "python", image("selector"), "-c", look) == "\n"
