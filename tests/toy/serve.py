"""Process that serves the toy service under the scorer's name: ``python -m toy.serve``.

``TOY_END_CONNECTION`` closes the connection to NATS a second after the start, as a library that gives up would;
``TOY_TRACED`` sends spans to ``OTEL_EXPORTER_OTLP_ENDPOINT``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from tessera.errors import TesseraError
from tessera.runtime import tracing
from tessera.runtime.service import Runtime, serve
from tessera.runtime.settings import load
from toy import handler


async def _end_connection(runtime: Runtime) -> list[object]:
    async def end() -> None:
        await asyncio.sleep(1)
        await runtime.messaging._client.close()

    runtime.spawn(end(), "end of the connection")
    return []


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)d %(name)s %(levelname)s %(message)s")
    if os.environ.get("TOY_END_CONNECTION"):
        handler.start = _end_connection  # type: ignore[attr-defined]
    if os.environ.get("TOY_TRACED"):
        tracing.configure("toy", load(tracing="otlp"))
    try:
        asyncio.run(serve(["scorer"], load(), load=lambda _: handler))
    except TesseraError as error:
        logging.getLogger("toy").error("cannot serve: %s", error)
        sys.exit(error.exit_code)
    finally:
        tracing.shutdown()
