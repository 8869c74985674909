"""How full streams, buckets and queues are: a part of ``messaging``, with its errors."""

from __future__ import annotations

from datetime import datetime

from tessera.runtime import wire
from tessera.runtime.streams import QueueState, Room
from tessera.runtime.wire import translated


class StreamStates:
    """The states of a JetStream server, asked for one by one."""

    def __init__(self, jetstream: wire.JetStreamContext, url: str) -> None:
        self._jetstream_states = jetstream
        self.url = url

    async def queue(self, stream: str, consumer: str) -> QueueState | None:
        """Return the counts of a durable consumer; None when there is no such consumer or stream."""
        with translated(f"consumer {consumer}"):
            try:
                info = await self._jetstream_states.consumer_info(stream, consumer)
            except wire.NotFound:
                return None
        return QueueState(info.num_waiting or 0, info.num_pending or 0, info.num_ack_pending or 0)

    async def oldest(self, stream: str, subject: str) -> datetime | None:
        """Return when a subject's first message was stored; None when there is no message or stream."""
        with translated(f"reading {subject}"):
            try:
                return (await self._jetstream_states.get_msg(stream, seq=1, subject=subject, next=True)).time
            except wire.NotFound:
                return None

    async def storage(self) -> Room:
        """Return the bytes that JetStream stores for this account, and their limit."""
        with translated(f"NATS at {self.url}"):
            account = await self._jetstream_states.account_info()
        return Room(account.storage, account.limits.max_storage if account.limits.max_storage > 0 else None)

    async def rooms(self, stream: str) -> tuple[Room, Room]:
        """Return a stream's messages and bytes, each with its limit; zero when the stream does not exist."""
        with translated(f"stream {stream}"):
            try:
                info = await self._jetstream_states.stream_info(stream)
            except wire.NotFound:
                return Room(0, None), Room(0, None)
        messages, size = info.config.max_msgs or -1, info.config.max_bytes or -1
        return (
            Room(info.state.messages, messages if messages > 0 else None),
            Room(info.state.bytes, size if size > 0 else None),
        )
