"""The engine of these tests: our images under Docker, or the same services as local processes."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SERVICES = ("coordinator", "partitioner", "scorer", "embedder", "selector", "oracle", "trainer", "evaluator")
PREFIX = os.environ.get("TESSERA_TEST_PREFIX", "tessera")
TAG = os.environ.get("TESSERA_TEST_TAG", "dev")
OLD_TAG = os.environ.get("TESSERA_TEST_OLD_TAG", "old")
NATS_IMAGES = (os.environ.get("TESSERA_TEST_NATS_IMAGE", ""), "tessera-nats:local", "nats:2.15.1-alpine")
S3_IMAGES = (os.environ.get("TESSERA_TEST_S3_IMAGE", ""), "tessera-s3:local", "rclone/rclone:1.75.2")


@dataclass(frozen=True)
class Choice:
    """``docker`` or ``local``, and why."""

    backend: str
    reason: str


def image(service: str) -> str:
    """Name of one of our images."""
    return f"{PREFIX}/{service}:{TAG}"


def old_image(service: str) -> str | None:
    """Name of the image of an earlier version (TESSERA_TEST_OLD_TAG), where it is there."""
    name = f"{PREFIX}/{service}:{OLD_TAG}"
    return name if name in _here() else None


def image_is_here(service: str) -> bool:
    """Return whether the engine has one of our images."""
    return image(service) in _here()


def server_image(candidates: tuple[str, ...]) -> str:
    """The image of a server that was named, else one that is here, else one that can be pulled."""
    named, local, public = candidates
    return named or (local if local in _here() else public)


def _here() -> set[str]:
    """Names of the engine's images."""
    import docker

    client = docker.from_env()
    try:
        return {tag for each in client.images.list() for tag in each.tags}
    finally:
        client.close()


@functools.cache
def chosen() -> Choice:
    """Decide once: TESSERA_TEST_ENGINE (docker or local), else docker where an engine answers and has our images."""
    wanted = os.environ.get("TESSERA_TEST_ENGINE", "")
    if wanted == "local":
        return Choice("local", "TESSERA_TEST_ENGINE says so")
    found = _look()
    if wanted == "docker" and found.backend != "docker":
        raise RuntimeError(f"TESSERA_TEST_ENGINE is docker, and {found.reason}")
    return found


def _look() -> Choice:
    """Ask in a process of its own: where no engine answers, docker-py leaves its socket to the collector.

    The warning of the unclosed socket would be the error of whichever test runs when it is collected.
    """
    asked = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "containers.engine"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return Choice(**json.loads(asked.stdout))


def _ask() -> Choice:
    try:
        import docker
    except ImportError:
        return Choice("local", "the docker client is not installed")
    # A machine that is busy with a whole set of tests may take its time, where an engine is wanted.
    patience = 60 if os.environ.get("TESSERA_TEST_ENGINE") == "docker" else 5
    try:
        client = docker.from_env(timeout=patience)
        version = client.version()["Version"]
        here = {tag: each for each in client.images.list() for tag in each.tags}
    except Exception as error:  # no engine, no permission, an engine that does not answer: all the same here
        return Choice("local", f"no Docker engine answers ({type(error).__name__})")
    missing = [image(service) for service in SERVICES if image(service) not in here]
    if missing:
        return Choice("local", f"the engine has no {', '.join(missing[:3])}; build them with make images")
    revision = _revision(here[image("scorer")])
    old = [here[name] for each in SERVICES if (name := f"{PREFIX}/{each}:{OLD_TAG}") in here]
    earlier = f"{len(old)} services by images of {_revision(old[0])[:12]}, " if old else ""
    earlier += f"{len(SERVICES) - len(old)} by its code on today's libraries"
    return Choice(
        "docker",
        f"engine {version}, images of revision {revision[:12]} ({_age(revision)}); the earlier version: {earlier}",
    )


def _revision(image: Any) -> str:
    return str(image.labels.get("org.opencontainers.image.revision", "unknown"))


def _age(revision: str) -> str:
    command = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    ).stdout.strip()
    return "this commit" if head == revision else f"the working tree is at {head[:12]}"


if __name__ == "__main__":
    print(json.dumps(asdict(_ask())))
