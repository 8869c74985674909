"""Every method, its service and algorithm version: the coordinator names jobs exactly as their workers do."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping

from google.protobuf.message import Message

from tessera.errors import BadInput
from tessera.runtime import jobkeys
from tessera.runtime.method import Method


def algorithms() -> Mapping[str, str]:
    """Return the algorithm version by method name."""
    return {name: method.algorithm for name, (_, method) in methods().items()}


@functools.cache
def methods() -> Mapping[str, tuple[str, Method]]:
    """Return (service, method) by method name, from the tables that the services declare.

    Cheap: a table of methods imports no heavy library.
    """
    found: dict[str, tuple[str, Method]] = {}
    # By name, as ``runtime.service`` finds handlers: the library does not depend on the services.
    services = importlib.import_module("services")
    for module in pkgutil.iter_modules(services.__path__):
        name = f"services.{module.name}.handler"
        if module.name != "coordinator" and importlib.util.find_spec(name) is not None:
            table: tuple[Method, ...] = getattr(importlib.import_module(name), "METHODS", ())
            found.update({method.name: (module.name, method) for method in table})
    return found


def job_key(method: str, request: Message) -> str:
    """Return the key of a job; BadInput for a method that no installed service has."""
    if method not in methods():
        raise BadInput(f"method {method}: no installed service has it; install the services of this version")
    return jobkeys.job_key(method, methods()[method][1].algorithm, request)
