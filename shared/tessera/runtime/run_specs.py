"""Keep the submitted spec in the store from before the run's first event, so that a run can outlive its log.

With a new NATS, the same plan gives the same job keys, and a job with a verified record in the store is not done again.
Answers of people are objects of their own, from which an open round is made again.
"""

from __future__ import annotations

from typing import Final

from google.protobuf import json_format

from tessera.errors import BadInput, CorruptObject
from tessera.pb.runs_pb2 import RunSpec
from tessera.runtime.archives import spec_key
from tessera.runtime.objects import ObjectStore

_MAX_BYTES: Final = 16 << 20


async def keep(store: ObjectStore, spec: RunSpec) -> None:
    """Write the spec; idempotent. Unavailable when the store does not answer: nothing is submitted then."""
    data = json_format.MessageToJson(spec, preserving_proto_field_name=True, sort_keys=True).encode()
    await store.put(spec_key(spec.run_id), data, "application/json")


async def read(store: ObjectStore, run_id: str) -> RunSpec:
    """Return the spec of a run; BadInput when the store knows no such run, CorruptObject when it cannot be read."""
    spec = await find(store, run_id)
    if spec is None:
        key = spec_key(run_id)
        raise BadInput(f"run {run_id!r}: the store has no {key}; submit the run again, it reuses finished steps")
    return spec


async def find(store: ObjectStore, run_id: str) -> RunSpec | None:
    """Return the spec of a run, None when the store knows no such run; CorruptObject when it cannot be read."""
    key = spec_key(run_id)
    data = await store.read_key(key, _MAX_BYTES)
    if data is None:
        return None
    try:
        spec = json_format.Parse(data, RunSpec(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError, RecursionError):
        raise CorruptObject(f"object {key}: is no run's spec; submit the run again, it reuses finished steps") from None
    if spec.run_id != run_id:
        raise CorruptObject(
            f"object {key}: is the spec of run {spec.run_id[:80]!a}; submit the run again, it reuses finished steps"
        )
    return spec
