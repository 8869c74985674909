"""NATS JetStream behind an interface of our own; no other module sees a type of the client library.

Every call raises Unavailable when NATS does not answer, Conflict when somebody else wrote first, BadInput when the
message cannot be sent at all. The vocabulary (fetch, in-progress, expected last sequence, pull consumers only) is
JetStream's, so that another client library stays a local change.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator

from tessera.errors import Conflict, Unavailable
from tessera.runtime import tracing, wire
from tessera.runtime.deliveries import Delivery as Delivery
from tessera.runtime.deliveries import Pull as Pull
from tessera.runtime.key_values import KeyValues
from tessera.runtime.redaction import full_address, redacted
from tessera.runtime.settings import Settings, load
from tessera.runtime.stream_states import StreamStates
from tessera.runtime.streams import (
    BucketSpec,
    ConsumerSpec,
    Published,
    StoredMessage,
    StreamSpec,
)
from tessera.runtime.wire import SILENCE, translated

_PATIENCE = 15.0
Drift = dict[str, tuple[object, object]]
_BATCH = 256


class Messaging(KeyValues, StreamStates):
    """A connection to NATS; open it with ``connect``."""

    def __init__(self, client: wire.Connection, url: str) -> None:
        self._client = client
        self._js = client.jetstream(timeout=5.0)
        KeyValues.__init__(self, self._js)
        StreamStates.__init__(self, self._js, url)
        self._pulls: list[Pull] = []

    @property
    def connected(self) -> bool:
        """Return whether the connection is up at this moment."""
        return bool(self._client.is_connected)

    @property
    def ended(self) -> str | None:
        """Return why the connection has ended for good; None while it is up or the client reconnects."""
        return self._client.ended

    async def check(self) -> None:
        """Ask JetStream for its state; Unavailable when the server has none."""
        with translated(f"NATS at {self.url}"):
            await self._js.account_info()

    async def publish(
        self,
        subject: str,
        data: bytes,
        *,
        message_id: str | None = None,
        expected_last: int | None = None,
        patience: float = _PATIENCE,
    ) -> Published:
        """Store a message; wait for a silent server or a full stream for up to ``patience`` seconds, then Unavailable.

        ``message_id`` makes repeating harmless within the stream's duplicate window (one is made up when absent, for
        this call's own retries). ``expected_last`` is the sequence of the subject's last message, else Conflict. The
        message is part of the trace around this call.
        """
        headers = {**tracing.headers(), "Nats-Msg-Id": message_id or uuid.uuid4().hex}
        if expected_last is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(expected_last)
        deadline, pause = time.monotonic() + patience, 0.05
        while True:
            try:
                with translated(f"publish to {subject}"):
                    timeout = min(5.0, max(0.5, deadline - time.monotonic()))
                    ack = await self._js.publish(subject, data, timeout=timeout, headers=headers)
                return Published(sequence=ack.seq, duplicate=bool(ack.duplicate))
            except Conflict:
                # The server checks the expectation before the id, so a message that an unanswered try stored is a
                # conflict now.
                mine = await self._stored_as(subject, headers["Nats-Msg-Id"])
                if mine is None:
                    raise
                return Published(sequence=mine, duplicate=True)
            except Unavailable:
                if time.monotonic() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2.0)

    async def _stored_as(self, subject: str, message_id: str) -> int | None:
        """Return the sequence of the subject's last message if it carries this id."""
        with translated(f"reading {subject}"):
            try:
                last = await self._js.get_last_msg(await self._js.find_stream_name_by_subject(subject), subject)
            except wire.NotFound:
                return None
        return last.seq if (last.headers or {}).get("Nats-Msg-Id") == message_id else None

    async def bind(self, stream: str, consumer: str) -> Pull:
        """Bind to a consumer that ``topology.ensure`` made."""
        with translated(f"consumer {consumer}"):
            pull = Pull(self._client, await self._js.pull_subscribe_bind(consumer=consumer, stream=stream))
        self._pulls.append(pull)
        return pull

    async def read(self, stream: str, subject: str, start: int = 1) -> list[StoredMessage]:
        """Return every stored message that matches, from sequence ``start`` on, in order."""
        return [stored async for batch in self.batches(stream, subject, start) for stored in batch]

    async def follow(self, stream: str, subject: str, start: int = 1) -> AsyncIterator[StoredMessage]:
        """Yield every message that matches, from sequence ``start`` on and for ever, in order and without gaps.

        Survives restarts of the server: after a gap it reads on from the last sequence.
        """
        async for batch in self.batches(stream, subject, start, follow=True):
            for stored in batch:
                yield stored

    async def batches(
        self, stream: str, subject: str, start: int = 1, *, follow: bool = False
    ) -> AsyncIterator[list[StoredMessage]]:
        """Yield the messages of ``read`` or ``follow`` a few hundred at a time: a stream may not fit into memory."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                async with self._reader(stream, subject, start) as (subscription, pending):
                    reconnects, position = self._client.stats["reconnects"], 0
                    while pending or follow:
                        batch: list[StoredMessage] = []
                        for message in await _fetch_some(subscription, pending):
                            metadata = message.metadata
                            position += 1
                            if metadata.sequence.consumer != position:
                                raise ConnectionError("a message was lost on the way")
                            at, pending = metadata.sequence.stream, metadata.num_pending
                            batch.append(StoredMessage(at, message.subject, message.data, metadata.timestamp))
                        if batch:
                            start = batch[-1].sequence + 1
                            yield batch
                        deadline = time.monotonic() + _PATIENCE
                        if self._client.stats["reconnects"] != reconnects:
                            raise ConnectionError("what was sent to the old connection may be lost")
                return
            except SILENCE as error:
                if not follow and isinstance(error, wire.NotFound):
                    raise Unavailable(
                        f"stream {stream}: is not in NATS at {self.url}; start a service, which makes it"
                    ) from None
                if not follow and time.monotonic() > deadline:
                    raise Unavailable(f"reading {stream} {subject}: NATS does not answer ({error})") from None
                await asyncio.sleep(0.2)

    @contextlib.asynccontextmanager
    async def _reader(
        self, stream: str, subject: str, start: int
    ) -> AsyncIterator[tuple[wire.JetStreamContext.PullSubscription, int]]:
        """Bind to a consumer that lives in the server's memory and delivers without acknowledgement; its backlog."""
        info = await self._js.add_consumer(stream, wire.reader_config(subject, start))
        subscription = await self._js.pull_subscribe_bind(consumer=info.name, stream=stream)
        try:
            yield subscription, int(info.num_pending or 0)
        finally:
            with contextlib.suppress(*SILENCE):
                await subscription.unsubscribe()
                await self._js.delete_consumer(stream, info.name)

    async def last_sequence(self, stream: str, subject: str) -> int:
        """Return the sequence of a subject's last message, 0 when there is none."""
        with translated(f"reading {subject}"):
            try:
                return int((await self._js.get_last_msg(stream, subject)).seq or 0)
            except wire.NotFound:
                return 0

    async def position(self, stream: str) -> int:
        """Return the sequence of the stream's last message, of any subject and deleted or not."""
        with translated(f"stream {stream}"):
            return int((await self._js.stream_info(stream)).state.last_seq)

    async def subjects(self, stream: str, pattern: str) -> list[str]:
        """Return the subjects that match and have messages, sorted."""
        with translated(f"stream {stream}"):
            found = (await self._js.stream_info(stream, subjects_filter=pattern)).state.subjects
            return sorted(found or {})

    async def purge(self, stream: str, subject: str, before: int) -> None:
        """Delete a subject's messages with a sequence below ``before``; idempotent."""
        with translated(f"purging {subject}"):
            await self._js.purge_stream(stream, seq=max(before, 1), subject=subject)

    async def get(self, stream: str, sequence: int) -> tuple[str, bytes] | None:
        """Return subject and data of one message, or None when it is gone."""
        with translated(f"reading {stream} #{sequence}"):
            try:
                message = await self._js.get_msg(stream, sequence)
            except wire.NotFound:
                return None
            return str(message.subject), message.data or b""

    async def consumed(self, stream: str, consumer: str) -> int:
        """Return the sequence up to which every message of a work queue was delivered and settled.

        A message still in the stream up to there is past its deliveries, or was acknowledged a moment ago.
        """
        with translated(f"consumer {consumer}"):
            info = await self._js.consumer_info(stream, consumer)
        place = info.ack_floor if info.num_ack_pending else info.delivered
        return int(place.stream_seq or 0) if place is not None else 0

    async def sequences(self, stream: str, subject: str, last: int | None, *, at_most: int) -> list[int]:
        """Return the sequences of a subject's first ``at_most`` messages up to ``last`` (None: the end), in order."""
        found: list[int] = []
        with translated(f"reading {subject}"), contextlib.suppress(wire.NotFound):
            while len(found) < at_most:
                message = await self._js.get_msg(
                    stream, seq=(found[-1] if found else 0) + 1, subject=subject, next=True
                )
                sequence = int(message.seq or 0)
                if last is not None and sequence > last:
                    break
                found.append(sequence)
        return found

    async def delete(self, stream: str, sequence: int) -> None:
        """Delete one message; no error when it is gone."""
        with translated(f"deleting {stream} #{sequence}"), contextlib.suppress(wire.NotFound):
            try:
                await self._js.delete_msg(stream, sequence)
            except wire.APIError as error:
                if error.err_code != wire.NO_MESSAGE:
                    raise

    async def ensure_stream(self, spec: StreamSpec, *, create: bool = True) -> Drift | None:
        """Create the stream if it is not there; return its drift: field → (expected, found).

        A stream with the age of an earlier version gets this version's age, and one without a quota its first; any
        other difference is reported, since an operator made it. Without ``create`` nothing is changed, and the result
        is None for a missing stream.
        """
        with translated(f"stream {spec.name}"):
            config = wire.stream_config(spec)
            try:
                found = (await self._js.stream_info(spec.name)).config
            except wire.NotFound:
                if not create:
                    return None
                found = (await self._js.add_stream(config)).config
            drift = wire.stream_drift(spec, found)
            if create and drift and wire.is_former(spec, drift, found):
                drift = wire.stream_drift(spec, (await self._js.update_stream(config)).config)
            return drift

    async def ensure_consumer(self, spec: ConsumerSpec, *, create: bool = True) -> Drift | None:
        """Do as `ensure_stream` for a consumer; an existing one is never changed."""
        with translated(f"consumer {spec.name}"):
            config = wire.consumer_config(spec)
            try:
                found = (await self._js.consumer_info(spec.stream, spec.name)).config
            except wire.NotFound:
                if not create:
                    return None
                found = (await self._js.add_consumer(spec.stream, config)).config
            return wire.drift(config, found, wire.CONSUMER_FIELDS)

    async def ensure_bucket(self, spec: BucketSpec, *, create: bool = True) -> Drift | None:
        """Do as `ensure_stream` for a bucket."""
        with translated(f"bucket {spec.name}"):
            try:
                found = (await self._js.stream_info(f"KV_{spec.name}")).config
            except wire.NotFound:
                if not create:
                    return None
                await self._js.create_key_value(bucket=spec.name, history=1, ttl=spec.ttl, replicas=spec.replicas)
                found = (await self._js.stream_info(f"KV_{spec.name}")).config
            expected = wire.bucket_config(spec)
            return wire.drift(expected, found, ("max_age", "num_replicas", "max_msgs_per_subject"))

    async def signs_of_life(self, stream: str, consumer: str) -> AsyncGenerator[None, None]:
        """Yield, from now on, each time a worker of this consumer settles a message or sends a heartbeat."""
        async with contextlib.aclosing(self.listen(f"$JS.ACK.{stream}.{consumer}.>")) as told:
            async for _ in told:
                yield

    async def refusal(self, stream: str, subject: str) -> str:
        """Return why a stream stores nothing, or "": a message is published on ``subject`` and deleted.

        Nobody may read ``subject``. Unavailable when the stream does not exist.
        """
        await self.position(stream)
        try:
            await self.publish(subject, b"", patience=3.0)
        except Unavailable as error:
            return str(error)
        await self.purge(stream, subject, await self.last_sequence(stream, subject) + 1)
        return ""

    async def tell(self, subject: str, data: bytes) -> None:
        """Publish to the current listeners; nothing is stored, and nothing is raised."""
        with contextlib.suppress(*SILENCE):
            await self._client.publish(subject, data)

    async def listen(self, subject: str) -> AsyncGenerator[tuple[str, bytes], None]:
        """Yield subject and data of every message sent by ``tell`` from now on; a slow reader loses the newest."""
        subscription = await self._client.subscribe(subject, pending_msgs_limit=1000)
        try:
            async for message in subscription.messages:
                yield message.subject, message.data
        finally:
            with contextlib.suppress(*SILENCE):
                await subscription.unsubscribe()

    async def close(self) -> None:
        """Stop pulling, send what is buffered, disconnect; bounded by 5 s."""
        for pull in self._pulls:
            await pull.close()
        self._pulls.clear()
        with contextlib.suppress(*SILENCE):
            if self._client.is_connected:
                await self._client.drain()
            else:
                await self._client.close()


async def _fetch_some(subscription: wire.JetStreamContext.PullSubscription, pending: int) -> list[wire.Msg]:
    try:
        return list(await subscription.fetch(min(pending, _BATCH) or 1, timeout=2.0))
    except TimeoutError:
        return []


async def connect(
    url: str, *, name: str, settings: Settings | None = None, token: str | None = None, first_seconds: float = 5.0
) -> Messaging:
    """Connect to NATS; afterwards reconnect for ever, with pauses that grow from 0.2 to 5 s.

    How to log in and whether by TLS say the settings (default: the environment's), unless ``token`` is given: that of a
    local stack's own server. Only the first connection is bounded: Unavailable names address, last error and remedy.
    """
    url = full_address(url)
    login = wire.Login(token=token) if token else wire.login(settings or load(), url)
    return Messaging(await wire.open_client(url, name=name, login=login, first_seconds=first_seconds), redacted(url))
