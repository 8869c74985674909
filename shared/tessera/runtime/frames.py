"""Frames between a worker and its compute child: two lengths, a JSON header, raw payload bytes. Never a pickle."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any, Final

_LENGTHS: Final = struct.Struct(">II")
_LIMIT: Final = 256 << 20
Header = dict[str, Any]


def pack(header: Header, payload: bytes = b"") -> bytes:
    """Return one frame."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(text), len(payload)) + text + payload


async def read(reader: asyncio.StreamReader) -> tuple[Header, bytes]:
    """Read one frame; IncompleteReadError when the other side has gone."""
    head, body = _lengths(await reader.readexactly(_LENGTHS.size))
    header = json.loads(await reader.readexactly(head))
    if not isinstance(header, dict):
        raise ConnectionError("a frame's header is no object: the channel is out of step")
    return header, await reader.readexactly(body)


def receive(connection: socket.socket) -> tuple[Header, bytes] | None:
    """Read one frame, blocking; None when the other side has gone."""
    lengths = _exactly(connection, _LENGTHS.size)
    if lengths is None:
        return None
    head, body = _lengths(lengths)
    text, payload = _exactly(connection, head), _exactly(connection, body)
    return None if text is None or payload is None else (json.loads(text), payload)


def _lengths(data: bytes) -> tuple[int, int]:
    head, body = _LENGTHS.unpack(data)
    if head + body > _LIMIT:
        raise ConnectionError(f"a frame of {head + body} bytes: the channel is out of step")
    return head, body


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            return None
        data += part
    return bytes(data)
