"""Every method, its service and algorithm version: the coordinator names jobs exactly as their workers do."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping

from google.protobuf.message import Message

from tessera.errors import BadInput, nearest
from tessera.loop import growing, people
from tessera.runtime import jobkeys
from tessera.runtime.method import Method


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


def algorithm(method: str, replaced: Mapping[str, str] | None = None) -> str:
    """Return the algorithm version that names a method's jobs; BadInput for a method that no installed service has.

    ``replaced`` (TESSERA_ALGORITHMS) gives the version of somebody else's implementation where that serves the method:
    its results get job keys of their own, and our workers pass its jobs on.
    """
    if method == people.COLLECT:
        # No service computes it: people answer, and the coordinator writes down what they said.
        return people.ALGORITHM
    if method == growing.TAKE:
        return growing.ALGORITHM
    if method not in methods():
        raise BadInput(f"method {method}: no installed service has it; install the services of this version")
    return (replaced or {}).get(method) or methods()[method][1].algorithm


def job_key(method: str, request: Message, replaced: Mapping[str, str] | None = None) -> str:
    """Return the key of a job under the method's `algorithm`; BadInput as there."""
    return jobkeys.job_key(method, algorithm(method, replaced), request)


def check_replaced(replaced: Mapping[str, str]) -> None:
    """BadInput names the first method of TESSERA_ALGORITHMS that there is not, or that has no version."""
    for name, version in replaced.items():
        if name not in methods():
            raise BadInput(f"TESSERA_ALGORITHMS: unknown method {name!r}; {nearest(name, methods())}")
        if not version:
            raise BadInput(f"TESSERA_ALGORITHMS: {name} has an empty version; write one, or leave {name} out")
