"""The dashboard beside a local stack: its process, its address, and the operator's token."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import sys
from typing import TYPE_CHECKING

from tessera.cli.output import note, say
from tessera.cli.processes import Spec, tail, write_atomically
from tessera.cli.stack import START_SECONDS, Stack, free_ports, port_is_free, wait_for_port
from tessera.errors import BadInput

if TYPE_CHECKING:
    from tessera.loop.recipe import Recipe

_NAME = "dashboard.json"


def wanted(recipe: Recipe) -> bool:
    """Return whether people answer the questions of a recipe, so that its run needs a page for them."""
    from tessera.queries.question import ORACLES

    return ORACLES.entry(recipe.oracle.name).traits.by_people


def serve(stack: Stack) -> str:
    """Start the dashboard of a running stack and return the operator's address.

    Port and token stay the same in one folder, so that annotators' links outlive a restart; TESSERA_HTTP_PORT and
    TESSERA_HTTP_TOKEN set them. BadInput where its packages are missing; Unavailable where it does not start.
    """
    for package in ("starlette", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise BadInput(
                f"--dashboard: needs the package {package}; install it with pip install 'tessera-al[dashboard]'"
            )
    port, token = _facts(stack)
    environment = {
        **stack.environment(),
        "TESSERA_COORDINATOR": stack.coordinator,
        "TESSERA_GRPC_PORT": "0",
        "TESSERA_HTTP_HOST": "127.0.0.1",
        "TESSERA_HTTP_PORT": str(port),
        "TESSERA_HTTP_TOKEN": token,
        "TESSERA_DRAIN_SECONDS": "0",
    }
    stack.supervisor.add(Spec("dashboard", [sys.executable, "-m", "tessera.cli.host", "dashboard"], environment))
    log = stack.supervisor.logs / "dashboard.log"
    wait_for_port(
        ("127.0.0.1", port),
        START_SECONDS,
        lambda: f"dashboard: did not start within {START_SECONDS:.0f} s; {log} ends:\n{tail(log)}",
        stack.supervisor,
    )
    return f"http://127.0.0.1:{port}/sign-in#{token}"


def announce(address: str) -> None:
    """Print where the dashboard is; the address signs its reader in as operator."""
    say(f"dashboard: {address}")
    note("whoever opens this address operates the stack; make annotators' links on its page Annotators")


def _facts(stack: Stack) -> tuple[int, str]:
    path = stack.folder / _NAME
    port, token = int(os.environ.get("TESSERA_HTTP_PORT") or 0), os.environ.get("TESSERA_HTTP_TOKEN") or ""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_bytes())
        port = port or (int(kept["port"]) if port_is_free(int(kept["port"])) else 0)
        token = token or str(kept["token"])
    port, token = port or free_ports(1)[0], token or secrets.token_hex(24)
    write_atomically(path, json.dumps({"port": port, "token": token}).encode(), private=True)
    return port, token
