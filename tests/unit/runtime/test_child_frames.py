"""Frames survive any cut of the stream, and a channel out of step is noticed."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading

import pytest

from tessera.runtime import frames


async def test_frames_survive_any_cut() -> None:
    header, payload = {"op": "run", "text": "prüfung\n"}, bytes(range(256)) * 300
    for cut in (1, 7, 8, 9, 4096, 1 << 20):
        reader = asyncio.StreamReader()
        data = frames.pack(header, payload) * 2
        for start in range(0, len(data), cut):
            reader.feed_data(data[start : start + cut])
        reader.feed_eof()
        assert await frames.read(reader) == (header, payload)
        assert await frames.read(reader) == (header, payload)
        with pytest.raises(asyncio.IncompleteReadError):
            await frames.read(reader)


def test_blocking_side_reads_what_was_sent_and_sees_the_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        payload = bytes(1 << 20)
        sender = threading.Thread(target=lambda: (ours.sendall(frames.pack({"a": 1}, payload)), ours.close()))
        sender.start()
        assert frames.receive(theirs) == ({"a": 1}, payload)
        assert frames.receive(theirs) is None
        sender.join()


def test_half_a_frame_is_the_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(frames.pack({"a": 1}, b"payload")[:-2])
        ours.close()
        assert frames.receive(theirs) is None


async def test_garbage_is_out_of_step() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(struct.pack(">II", 0xFFFFFFFF, 0xFFFFFFFF))
    with pytest.raises(ConnectionError, match="out of step"):
        await frames.read(reader)
