"""Tensors ↔ safetensors bytes. The header is checked here, so that hostile files end in a clear error. Nothing is
unpickled: a file that is not safetensors is refused by its first bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput

_DTYPES: dict[str, type[np.generic]] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_MAX_HEADER = 16 << 20
_MAX_TENSORS = 100_000
_CONVERT = "convert it with safetensors.torch.save_file(model.state_dict(), path)"

Tensors = dict[str, NDArray[Any]]


def save(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> bytes:
    """Encode named arrays; the same tensors and metadata give the same bytes. BadInput: a value is NaN or infinite."""
    names = {np.dtype(kind): name for name, kind in _DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(sorted((metadata or {}).items()))} if metadata else {}
    parts: list[bytes] = []
    offset = 0
    for key in sorted(tensors):
        array = np.asarray(tensors[key])
        _check_finite(array, key, "weights to be stored")
        data = array.tobytes()
        dtype = names[array.dtype]
        header[key] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + len(data)]}
        parts.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def load(data: bytes, name: str) -> Tensors:
    """Decode safetensors bytes; ``name`` is what errors call the file. Arrays are read-only views of ``data``.

    BadInput: not safetensors (a pickle or zip is named as such), a header that is cut, oversized, not JSON or repeats a
    name, tensors that overlap, leave gaps or lie outside the file, unknown dtypes, NaN or infinity.
    """
    header, start = _header(data, name)
    header.pop("__metadata__", None)
    if len(header) > _MAX_TENSORS:
        raise BadInput(f"{name}: {len(header)} tensors; at most {_MAX_TENSORS} are read")
    entries = sorted((_entry(name, key, value) for key, value in header.items()), key=lambda entry: entry[3:])
    tensors: Tensors = {}
    end = 0
    for key, dtype, shape, first, last in entries:
        if first != end:
            raise BadInput(f"{name}: tensor {key!r} starts at byte {first}, not at {end}: overlap or gap; re-export it")
        if last > len(data) - start:
            raise BadInput(f"{name}: tensor {key!r} ends at byte {last} of {len(data) - start}; the file is cut short")
        array = np.frombuffer(data, dtype, count=math.prod(shape), offset=start + first).reshape(shape)
        _check_finite(array, key, name)
        tensors[key] = array
        end = last
    if end != len(data) - start:
        raise BadInput(f"{name}: {len(data) - start - end} bytes after the last tensor; re-export it")
    return tensors


def metadata(data: bytes, name: str) -> dict[str, str]:
    """Return the texts beside the tensors of safetensors bytes; BadInput as in `load`."""
    header, _ = _header(data, name)
    found = header.get("__metadata__", {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise BadInput(f"{name}: its metadata are not texts; re-export it")
    return found


def _header(data: bytes, name: str) -> tuple[dict[str, Any], int]:
    # A header of 128 (384, …) bytes begins like a pickle, but only its ninth byte opens a JSON object.
    if data[:4] == b"PK\x03\x04" or (data[:1] == b"\x80" and data[8:9] != b"{"):
        raise BadInput(f"{name}: a PyTorch pickle, which can run code when read; {_CONVERT}")
    if len(data) < 10 or data[8:9] != b"{":
        raise BadInput(f"{name}: not a safetensors file; {_CONVERT}")
    length = int.from_bytes(data[:8], "little")
    if length > min(_MAX_HEADER, len(data) - 8):
        raise BadInput(f"{name}: header of {length} bytes in a file of {len(data)} (limit {_MAX_HEADER}); re-export it")
    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{name}: the safetensors header is not valid ({error}); re-export it") from None
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the name {key!r} appears twice")
        found[key] = value
    return found


def _entry(name: str, key: str, value: Any) -> tuple[str, np.dtype[Any], tuple[int, ...], int, int]:
    try:
        dtype = np.dtype(_DTYPES[value["dtype"]])
        shape = tuple(value["shape"])
        first, last = value["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise BadInput(
            f"{name}: tensor {key!r} has no usable dtype, shape and offsets; known: {sorted(_DTYPES)}"
        ) from None
    numbers = (*shape, first, last)
    if not all(isinstance(number, int) and 0 <= number < 1 << 48 for number in numbers) or len(shape) > 8:
        raise BadInput(f"{name}: tensor {key!r} has shape {shape!r:.80} at {first!r:.20}:{last!r:.20}; re-export it")
    if math.prod(shape) * dtype.itemsize != last - first:
        raise BadInput(f"{name}: tensor {key!r} of shape {shape} takes {last - first} bytes; re-export it")
    return key, dtype, shape, first, last


def _check_finite(array: NDArray[Any], key: str, name: str) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadInput(f"{name}: tensor {key!r} holds NaN or infinity; train again with a smaller learning rate")
