"""The bridge: both doors of a service for a program that speaks gRPC alone.

It takes the jobs of the service from JetStream, has the program compute each by a gRPC call, commits the answer, and
tells the run. Job keys, records, heartbeats, cancellation, attempts and dead letters are those of our own services
(`Worker`, `Execution`): a program in another language need not write them again. Its own gRPC door answers by the
record, too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Final, cast

from google.protobuf.message import DecodeError, Message

from tessera.errors import BadInput, ChildCrashed, ChildTimedOut, CorruptObject, TesseraError, Unavailable, nearest
from tessera.loop.responses import references
from tessera.runtime import catalogue, rpc, service
from tessera.runtime.method import Method
from tessera.runtime.settings import Settings

_HEALTH_SECONDS: Final = 5.0


def main(name: str, to: str, versions: Mapping[str, str] | None = None) -> None:
    """Bridge the service ``name`` to the program at ``to`` (host:port) until SIGTERM; exits with the error's code.

    ``versions`` gives the version of the program's results by method, beside those of TESSERA_ALGORITHMS. BadInput for
    an unknown service, or one whose results have no version of their own.
    """
    if name not in (known := {owner for owner, _ in catalogue.methods().values()}):
        raise BadInput(f"service {name!r}: has no jobs; {nearest(name, known)}")
    catalogue.check_replaced(versions or {})
    service.main(name, run=partial(serve, to=to, versions=versions or {}))


async def serve(names: Sequence[str], chosen: Settings, *, to: str, versions: Mapping[str, str]) -> None:
    """Serve as ``service.serve``; the program at ``to`` computes."""
    named = {**chosen.algorithms, **versions}
    catalogue.check_replaced(named)
    # Nothing is computed in a child here, and a job's request may be larger than a message of others.
    here = chosen.model_copy(update={"prepare": False, "kernels": None})
    wide = chosen.model_copy(update={"grpc_message_bytes": chosen.request_bytes})
    await service.serve(names, here, load=partial(_methods, named), ask=partial(ask, to, wide))


def _methods(versions: Mapping[str, str], name: str) -> ModuleType:
    """Return what stands for a service's handler module: its methods, under the program's versions."""
    ours = [method for owner, method in catalogue.methods().values() if owner == name]
    for method in ours:
        if not versions.get(method.name):
            raise BadInput(
                f"bridge of {name}: {method.name} has no version; give one with --algorithm {method.name}=VERSION, and "
                "the coordinator the same in TESSERA_ALGORITHMS: results of another program need keys of their own"
            )
    replaced = tuple(dataclasses.replace(method, algorithm=versions[method.name]) for method in ours)
    return cast(ModuleType, SimpleNamespace(METHODS=replaced))


async def ask(to: str, settings: Settings, method: Method, request: Message) -> bytes:
    """Return the bytes of the answer of the program at ``to``, within the method's time limit.

    Raises the error that the program names (``tessera-reason``). Unavailable while it does not serve, which is no
    attempt at the job; ChildCrashed where it goes away in the middle of a call; ChildTimedOut; TesseraError for an
    answer that cannot be read, or a request that it does not take.
    """
    if not await rpc.is_serving(to, method.service, _HEALTH_SECONDS):
        raise Unavailable(f"{method.service} at {to}: does not serve; start it, or check --to")
    data = request.SerializeToString(deterministic=True)
    try:
        async with asyncio.timeout(method.timeout_seconds), rpc.Channel(to, settings) as channel:
            # Longer: whether a deadline was ours is then never in doubt.
            ended = await channel.exchange(method.path, data, method.timeout_seconds + _HEALTH_SECONDS)
    except TimeoutError:
        raise ChildTimedOut(f"{method.name}: {to} gave no answer within {method.timeout_seconds:g} s") from None
    if ended.code != "OK":
        raise _error(to, method, request, ended)
    try:
        method.response.FromString(ended.data)
    except DecodeError:
        raise TesseraError(f"{method.name}: the answer of {to} is no {method.name}Response") from None
    return ended.data


def _error(address: str, method: Method, request: Message, ended: rpc.Exchange) -> TesseraError:
    """Return the error of a call, with what only this side knows: the lost object, a crash."""
    known = ended.error(address, method.path, method.timeout_seconds)
    if isinstance(known, CorruptObject):
        # The program names it in its sentence. So the coordinator learns which job must be done again.
        known.ref = next((ref for ref in references(request) if ref.key and ref.key in ended.text), None)
    if not ended.reason and ended.code in ("UNAVAILABLE", "CANCELLED"):
        return ChildCrashed(f"{method.name}: {address} went away in the middle of the call ({ended.text})")
    if not ended.reason and ended.code == "RESOURCE_EXHAUSTED":
        return TesseraError(
            f"{method.name}: {address} refuses the call ({ended.text}); the request has {request.ByteSize()} bytes: "
            "let it take larger messages"
        )
    return known


if __name__ == "__main__":
    # For images without the command line; versions come from TESSERA_ALGORITHMS.
    if len(sys.argv) != 3:
        sys.exit("usage: python -m tessera.runtime.bridge SERVICE HOST:PORT")
    try:
        main(sys.argv[1], sys.argv[2])
    except BadInput as wrong:
        sys.stderr.write(f"error: {wrong}\n")
        sys.exit(wrong.exit_code)
