"""Deliveries of a work queue: fetch one, keep it alive, settle it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging

from tessera.errors import Unavailable
from tessera.runtime.seldom import Seldom
from tessera.runtime.wire import SILENCE, Client, JetStreamContext, Msg, translated

_seldom = Seldom(logging.getLogger(__name__))
_SETTLE_TRIES, _SETTLE_SECONDS = 3, 5.0


class Delivery:
    """One message of a work queue, to be settled by exactly one of ack, nak or term."""

    def __init__(self, client: Client, message: Msg) -> None:
        self._client = client
        self._reply = message.reply
        metadata = message.metadata
        self.subject: str = message.subject
        self.data: bytes = message.data
        self.headers: dict[str, str] = message.headers or {}
        self.sequence: int = metadata.sequence.stream
        self.delivered: int = metadata.num_delivered
        """The server's own count: it restarts from 1 when the server does, so nothing may depend on it."""

    async def in_progress(self) -> None:
        """Tell the server that work goes on: the ack wait starts anew."""
        with translated(f"heartbeat on {self.subject}"):
            await self._client.publish(self._reply, b"+WPI")

    async def ack_sync(self) -> None:
        """Acknowledge, and wait until the server has it; three tries, then Unavailable (it will be delivered again)."""
        await self._settle(b"+ACK")

    async def nak(self, delay: float) -> None:
        """Give the message back, to be delivered again after ``delay`` seconds (0: at once, when draining)."""
        nanoseconds = int(max(delay, 0.0) * 1e9)
        await self._settle(b"-NAK " + json.dumps({"delay": nanoseconds}).encode() if nanoseconds else b"-NAK")

    async def term(self) -> None:
        """Delete the message from the queue; call it only after the failure record is stored."""
        await self._settle(b"+TERM")

    async def _settle(self, payload: bytes) -> None:
        for attempt in range(_SETTLE_TRIES):
            try:
                await self._client.request(self._reply, payload, timeout=_SETTLE_SECONDS)
                return
            except SILENCE as error:
                _seldom.warning("settling was not confirmed", self.subject, error=repr(error))
                await asyncio.sleep(0.2 * 2**attempt)
        raise Unavailable(f"settling {self.subject} #{self.sequence}: NATS does not answer; it will be delivered again")


class Pull:
    """A binding to an existing durable consumer. Binding never changes the consumer's configuration."""

    def __init__(self, client: Client, subscription: JetStreamContext.PullSubscription) -> None:
        self._client = client
        self._subscription = subscription

    async def fetch(self, expires: float) -> Delivery | None:
        """Wait up to ``expires`` seconds (≤ 5) for one message.

        The request is never cancelled, because the server would still send the next message to it: cancelling this
        coroutine waits for the request's own end and gives a message that arrives meanwhile back at once.
        """
        if not 0 < expires <= 5:
            raise ValueError(f"expires={expires}: a fetch waits at most 5 s, so that stopping is quick")
        request = asyncio.ensure_future(self._fetch(expires))
        try:
            return await asyncio.shield(request)
        except asyncio.CancelledError:
            delivery = await request
            if delivery is not None:
                await delivery.nak(0)
            raise

    async def _fetch(self, expires: float) -> Delivery | None:
        if not self._client.is_connected:
            # The client library would keep the request and send all of them at once after the outage: the server then
            # delivers as many messages to one worker, which lie there without a heartbeat.
            await asyncio.sleep(min(0.2, expires))
            raise Unavailable("fetch: NATS does not answer (no connection)")
        try:
            messages = await self._subscription.fetch(1, timeout=expires, heartbeat=expires / 3)
        except TimeoutError:
            return None
        except SILENCE as error:
            # Also the server's 503 while it restarts: without a pause the loop would spin.
            await asyncio.sleep(min(0.2, expires))
            raise Unavailable(f"fetch: NATS does not answer ({error})") from None
        return Delivery(self._client, messages[0])

    async def close(self) -> None:
        """Unsubscribe, and give back at once what arrived after the last fetch had expired."""
        queue = self._subscription._sub._pending_queue
        with contextlib.suppress(*SILENCE):
            await self._subscription.unsubscribe()
        while not queue.empty():
            message = queue.get_nowait()
            if message.reply.startswith("$JS.ACK."):
                with contextlib.suppress(*SILENCE):
                    await self._client.publish(message.reply, b"-NAK")
