"""Remove what the container tests of one session started, once that session has ended, however it ended.

What testcontainers' own cleaner does, which is an image that may not be here. A process of its own waits until the
session's process is gone: also when that was killed and no fixture could end what it had begun.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID

LABEL = f"{LABEL_SESSION_ID}={SESSION_ID}"
"""Of every container and network that testcontainers makes in this session, and of those that tests make by hand."""
PROJECT = f"tessera-test-{SESSION_ID[:8]}"
"""Of everything that compose makes in this session."""
# A request that the engine had begun when the session died may end after the first look.
_LOOKS, _BETWEEN_SECONDS, _LIMIT_SECONDS = 2, 2.0, 120.0


@contextlib.contextmanager
def cleaned() -> Iterator[None]:
    """Remove what this session left, at the end of the block or of this process; fail where the block left anything."""
    cleaner = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "containers.cleaning", LABEL, f"com.docker.compose.project={PROJECT}"],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C is for the session alone.
        start_new_session=True,
    )
    with cleaner:
        yield
        left, _ = cleaner.communicate(timeout=2 * _LIMIT_SECONDS)
    assert left == "", f"a container test left something behind:\n{left}"


def _left(client: Any, label: str) -> list[Any]:
    named = {"filters": {"label": label}}
    containers = client.containers.list(all=True, ignore_removed=True, **named)
    return [*containers, *client.networks.list(**named), *client.volumes.list(**named)]


def _remove(each: Any) -> None:
    """Remove a container with its own volumes, a network or a volume."""
    import docker
    from docker.models.containers import Container

    # Nobody hears it where the session was killed.
    with contextlib.suppress(BrokenPipeError):
        print(f"{type(each).__name__} {each.name}", flush=True)
    # It may be on its way out already, and what is still in use goes at the next look.
    with contextlib.suppress(docker.errors.APIError):
        if isinstance(each, Container):
            each.remove(force=True, v=True)
        else:
            each.remove()


def main(labels: list[str]) -> None:
    """Wait until the session is gone, then remove until nothing with these labels is found at looks in a row."""
    import docker

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    client, deadline, empty = docker.from_env(timeout=300), time.monotonic() + _LIMIT_SECONDS, 0
    while empty < _LOOKS and time.monotonic() < deadline:
        found = [each for label in labels for each in _left(client, label)]
        for each in found:
            _remove(each)
        empty = 0 if found else empty + 1
        if empty < _LOOKS:
            time.sleep(_BETWEEN_SECONDS)
    client.close()
    # Python would write what is left of a broken pipe once more.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
