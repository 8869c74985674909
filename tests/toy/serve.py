"""Process that serves the toy service under the scorer's name: ``python -m toy.serve``."""

from __future__ import annotations

import asyncio
import logging

from tessera.runtime.service import serve
from tessera.runtime.settings import load
from toy import handler

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)d %(name)s %(levelname)s %(message)s")
    asyncio.run(serve(["scorer"], load(), load=lambda _: handler))
