"""Load what a service's jobs import before it takes any: a fresh container's first job is as quick as its second."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import pkgutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import StringValue

from tessera.errors import TesseraError

if TYPE_CHECKING:
    from tessera.formats.blobs import Blobs
    from tessera.runtime.pool import ComputePool

_log = logging.getLogger(__name__)
_SECONDS = 300.0


async def prepare(pool: ComputePool, modules: Sequence[str], children: int) -> None:
    """Start this many compute children and import the modules in each; return when all are idle.

    A module that cannot be imported is logged and no more: the job that needs it fails, and says why.
    """

    async def one() -> None:
        request = StringValue(value=" ".join(modules))
        result = await pool.run(f"{__name__}:load", request, Empty, {}, timeout=_SECONDS)
        result.discard()

    for outcome in await asyncio.gather(*(one() for _ in range(children)), return_exceptions=True):
        if isinstance(outcome, TesseraError):
            _log.warning("a compute child was not prepared", extra={"error": str(outcome)})
        elif isinstance(outcome, BaseException):
            raise outcome


def load(request: StringValue, blobs: Blobs) -> Empty:
    """Import the modules that the request names, separated by spaces; called in a compute child.

    ``package.*`` stands for every module below a package, but those that need a library which is not installed.
    """
    for name in request.value.split():
        package = importlib.import_module(name.removesuffix(".*"))
        if name.endswith(".*"):
            for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.", onerror=_pass):
                with contextlib.suppress(ModuleNotFoundError):
                    importlib.import_module(found.name)
    return Empty()


def _pass(name: str) -> None:
    """Go on after a package that cannot be imported."""
