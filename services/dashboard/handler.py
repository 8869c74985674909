"""Serve the dashboard over HTTP; it has no jobs of its own."""

from __future__ import annotations

from tessera.errors import BadInput
from tessera.runtime.method import Method
from tessera.runtime.rpc import Endpoint
from tessera.runtime.service import Runtime

METHODS: tuple[Method, ...] = ()


async def start(runtime: Runtime) -> list[Endpoint]:
    """Listen, and serve in the background until the process leaves; BadInput for settings that do not fit."""
    try:
        # Here, because the coordinator reads this module, for METHODS, and has no HTTP library.
        from services.dashboard import server
    except ModuleNotFoundError as error:
        raise BadInput(
            f"dashboard: needs the package {error.name}; install it with pip install 'tessera-al[dashboard]'"
        ) from None
    server.start(runtime)
    return []
