"""Ask a service whether it serves: ``python -m tessera.runtime.probe [host:port]``, for a container's health check."""

from __future__ import annotations

import asyncio
import sys

from tessera.errors import BadInput, TesseraError
from tessera.runtime import rpc, settings

_SECONDS = 5.0


def serves(address: str = "") -> bool:
    """Return whether the service at ``address`` says SERVING; default: the address in this process's settings.

    BadInput where the settings name no port.
    """
    if not address:
        chosen = settings.load()
        if not chosen.grpc_port:
            raise BadInput("TESSERA_GRPC_PORT: not set, so the service has any free port; set it, or give host:port")
        host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(chosen.grpc_host, chosen.grpc_host)  # noqa: S104
        address = f"{host}:{chosen.grpc_port}"
    return asyncio.run(rpc.is_serving(address, timeout=_SECONDS))


def main() -> None:
    """Exit with 0 when the service serves, else with 1; 2 for an invalid address."""
    try:
        sys.exit(0 if serves(*sys.argv[1:2]) else 1)
    except TesseraError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
