"""Name computations: the job key, and the key of its record."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tessera.errors import BadInput
from tessera.runtime.objects import check_key

_INTEGERS: Final = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64} | {
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
}
_FLOATS: Final = {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}
_JOB_KEY: Final = re.compile(r"[0-9a-f]{64}")
_PROVENANCE: Final = "tessera.v1.JobContext"
_REFERENCE: Final = "tessera.v1.ObjectRef"
_REFERENCE_FIELDS: Final = frozenset({"sha256", "size", "media_type"})


def job_key(method: str, algorithm: str, request: Message) -> str:
    """Return the sha256 that names this computation: equal exactly when method, algorithm and inputs are equal.

    It is taken from the fields, not from protobuf bytes, which are not canonical. Provenance (JobContext) is left out,
    so that two runs share a result; a reference counts by content, so that a moved store keeps its results; fields at
    their default are left out, so that adding a field keeps the old keys.
    """
    # The JSON text of {"algorithm": …, "method": …, "request": canonical(request)}, piece by piece: a request over the
    # whole pool names every shard, and its text as a whole would take hundreds of megabytes and block other threads.
    digest = hashlib.sha256(f'{{"algorithm":{_json(algorithm)},"method":{_json(method)},"request":'.encode())
    for piece in _pieces(request):
        digest.update(piece.encode())
    digest.update(b"}")
    return digest.hexdigest()


def _pieces(message: Message) -> Iterator[str]:
    """Yield the JSON text of ``canonical(message)``, repeated messages one by one."""
    fields = {field.name: (field, value) for field, value in message.ListFields() if not _is_provenance(field)}
    yield "{"
    for place, name in enumerate(sorted(fields)):
        field, value = fields[name]
        yield f"{',' if place else ''}{_json(name)}:"
        if field.is_repeated and field.message_type is not None and not _is_map(field):
            yield "["
            for index, item in enumerate(value):
                yield f"{',' if index else ''}{_json(canonical(item))}"
            yield "]"
        else:
            yield _json(_field(field, value))
    yield "}"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def is_job_key(text: str) -> bool:
    """Return whether this can be a job key: 64 hexadecimal digits in lower case."""
    return _JOB_KEY.fullmatch(text) is not None


def record_key(method: str, key: str) -> str:
    """Return the object key of a job's record; BadInput if the parts do not make one."""
    if len(key) != 64 or not method.isalnum():
        raise BadInput(f"job {method!r} {key!r}: not a method name and a job key")
    return check_key(f"jobs/{method}/{key}.json")


def canonical(message: Message) -> dict[str, Any]:
    """Return the set fields as JSON values: enums by name, floats as repr, bytes as hex, map keys as strings."""
    counted = _REFERENCE_FIELDS if message.DESCRIPTOR.full_name == _REFERENCE else None
    result: dict[str, Any] = {}
    for field, value in message.ListFields():
        if counted is not None and field.name not in counted:
            continue
        if _is_provenance(field):
            continue
        result[field.name] = _field(field, value)
    return result


def _field(field: FieldDescriptor, value: Any) -> Any:
    if _is_map(field):
        fields = field.message_type.fields_by_name  # type: ignore[union-attr]  # a map field has an entry message
        return {_map_key(key): _value(fields["value"], value[key]) for key in value}
    if field.is_repeated:
        items: Iterable[Any] = value
        return [_value(field, item) for item in items]
    return _value(field, value)


def _value(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        return canonical(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else int(value)
    if field.cpp_type in _INTEGERS:
        return int(value)
    if field.cpp_type in _FLOATS:
        return repr(float(value))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes(value).hex()
    return value


def _is_provenance(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == _PROVENANCE


def _is_map(field: FieldDescriptor) -> bool:
    return field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry


def _map_key(key: Any) -> str:
    return json.dumps(key) if isinstance(key, bool) else str(key)
