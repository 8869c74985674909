"""Adapt the NATS client library to ``messaging``: connections, errors, configuration objects.

The only module that imports ``nats``; nothing but ``messaging`` and its parts imports this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client as Client
from nats.aio.msg import Msg as Msg
from nats.js import api
from nats.js.client import JetStreamContext as JetStreamContext
from nats.js.kv import KeyValue as KeyValue

from tessera.errors import BadInput, Conflict, TesseraError, Unavailable
from tessera.runtime import tls
from tessera.runtime.redaction import redacted
from tessera.runtime.seldom import Seldom
from tessera.runtime.settings import Settings
from tessera.runtime.streams import BucketSpec, ConsumerSpec, StreamSpec

_log = logging.getLogger(__name__)
_RECONNECT_MIN, _RECONNECT_MAX = 0.2, 5.0
_WRONG_LAST_SEQUENCE = (10071, 10164)
_QUEUE_FULL = (10077, 10047)  # maximum messages; insufficient storage
_TOO_LARGE = 10054
# The server ends a connection whose line of command, subject and reply is longer than 4,096 bytes (max_control_line).
_LONGEST_SUBJECTS = 4000
NO_MESSAGE = 10043
NotFound = nats.js.errors.NotFoundError
KeyNotFound = nats.js.errors.KeyNotFoundError
APIError = nats.js.errors.APIError
# nats raises its own TimeoutError, asyncio's, and in some paths the builtin: the builtin is the superclass of all.
SILENCE = (TimeoutError, nats.errors.Error, OSError)
STREAM_FIELDS = (
    "subjects", "retention", "discard", "max_age", "max_msgs", "max_msg_size", "max_bytes", "duplicate_window",
    "num_replicas", "storage",
)  # fmt: skip
CONSUMER_FIELDS = ("filter_subject", "ack_policy", "deliver_policy", "ack_wait", "max_deliver", "max_ack_pending")


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the library's errors into ours; ``what`` begins the message."""
    try:
        yield
    except TesseraError:
        raise
    except nats.errors.MaxPayloadError:
        raise BadInput(f"{what}: larger than the server's max_payload; send a reference instead") from None
    except nats.js.errors.KeyWrongLastSequenceError:
        raise Conflict(f"{what}: somebody else wrote first") from None
    except nats.js.errors.APIError as error:
        code = error.err_code
        if code in _WRONG_LAST_SEQUENCE:
            raise Conflict(f"{what}: somebody else wrote first ({error.description})") from None
        if code == _TOO_LARGE:
            raise BadInput(f"{what}: larger than the stream allows; send a reference instead") from None
        if code in _QUEUE_FULL:
            raise Unavailable(f"{what}: the stream is full ({error.description}); workers must catch up") from None
        if code is None:
            raise Unavailable(
                f"{what}: NATS has no JetStream now; start nats-server with -js, or wait for a leader"
            ) from None
        raise Unavailable(f"{what}: NATS refused: {error.description} (code {code})") from None
    except SILENCE as error:
        raise Unavailable(f"{what}: NATS does not answer ({type(error).__name__})") from None


def stream_config(spec: StreamSpec) -> api.StreamConfig:
    """Return the configuration of a stream, in the library's words."""
    return api.StreamConfig(
        name=spec.name,
        subjects=list(spec.subjects),
        retention=api.RetentionPolicy(spec.retention),
        discard=api.DiscardPolicy(spec.discard),
        max_age=spec.max_age,
        max_msgs=spec.max_msgs,
        max_msg_size=spec.max_msg_size,
        max_bytes=spec.max_bytes,
        duplicate_window=spec.duplicate_window,
        num_replicas=spec.replicas,
        storage=api.StorageType.FILE,
    )


def consumer_config(spec: ConsumerSpec) -> api.ConsumerConfig:
    """Return the configuration of a durable pull consumer."""
    return api.ConsumerConfig(
        durable_name=spec.name,
        filter_subject=spec.filter_subject,
        ack_policy=api.AckPolicy.EXPLICIT,
        deliver_policy=api.DeliverPolicy.ALL,
        ack_wait=spec.ack_wait,
        max_deliver=spec.max_deliver,
        max_ack_pending=spec.max_ack_pending,
    )


def bucket_config(spec: BucketSpec) -> api.StreamConfig:
    """Return the fields of a bucket's stream that this project decides."""
    return api.StreamConfig(max_age=spec.ttl, num_replicas=spec.replicas, max_msgs_per_subject=1)


def reader_config(subject: str, start: int) -> api.ConsumerConfig:
    """Return the configuration of a reader: lives in the server's memory, delivers in order and without
    acknowledgement.
    """
    return api.ConsumerConfig(
        deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=max(start, 1),
        ack_policy=api.AckPolicy.NONE,
        filter_subject=subject,
        inactive_threshold=60.0,
        mem_storage=True,
        num_replicas=1,
    )


def stream_drift(spec: StreamSpec, found: api.StreamConfig) -> dict[str, tuple[object, object]]:
    """Return the fields in which a stream differs; where no quota is wanted, any is right."""
    fields = tuple(name for name in STREAM_FIELDS if name != "max_bytes" or spec.max_bytes > 0)
    return drift(stream_config(spec), found, fields)


def is_former(spec: StreamSpec, drift: dict[str, tuple[object, object]], found: api.StreamConfig) -> bool:
    """Return whether a stream differs only as one that an earlier version made, or that never had a quota."""
    aged = "max_age" not in drift or (spec.former_max_age is not None and found.max_age == spec.former_max_age)
    first = not {"max_bytes", "discard"} & drift.keys() or (spec.max_bytes > 0 and (found.max_bytes or -1) <= 0)
    return aged and first and drift.keys() <= {"max_age", "max_bytes", "discard"}


def drift(expected: object, found: object, fields: tuple[str, ...]) -> dict[str, tuple[object, object]]:
    """Return the fields that differ: name → (expected, found)."""
    pairs = {field: (getattr(expected, field), getattr(found, field)) for field in fields}
    # The server leaves fields out that are at their zero.
    return {field: pair for field, pair in pairs.items() if (pair[0] or 0) != (pair[1] or 0)}


class Connection(Client):
    """The library's client, without the ways in which its connection ends for good."""

    encrypted: bool = False
    """Whether anything but TLS is refused. The library follows what the server's greeting says, which travels in the
    clear: whoever sits in between could take TLS out of it and read the password."""
    renew: Callable[[], ssl.SSLContext | None] | None = None
    """Reads the certificates again, for each connection: the library keeps what it had at the first."""

    def _connect_command(self) -> bytes:
        if self.encrypted and not self._server_info.get("tls_required"):
            raise nats.errors.Error("the server speaks no TLS, which this process demands")
        return super()._connect_command()

    async def _connect_to_server(self, server: Any) -> None:
        # The library forgets to close the socket of a connection that failed half-way before it tries the next.
        if self._transport is not None:
            self._transport.close()  # type: ignore[no-untyped-call]
        if self.renew is not None:
            try:
                self.options["tls"] = self.renew()
            except BadInput as error:
                # Files are replaced one after the other; the last ones that fit go on.
                _log.warning("renewed certificates cannot be used", extra={"error": str(error)})
        await super()._connect_to_server(server)

    async def _process_err(self, err_msg: str) -> None:
        """Connect again, whatever error the server sends.

        The library closes the client for good at any error but a stale connection. A token that is refused now may be
        accepted after the next reload of the server, and a line that was too long is not sent again.
        """
        if "permissions violation" in err_msg.lower():
            await super()._process_err(err_msg)
            return
        error = nats.errors.Error(f"the server ended the connection: {err_msg.strip()}")
        self._err = error
        await self._error_cb(error)
        await self._process_op_err(error)

    async def _send_publish(
        self, subject: str, reply: str, payload: bytes, payload_size: int, headers: dict[str, Any] | None
    ) -> None:
        if len(subject.encode()) + len(reply.encode()) > _LONGEST_SUBJECTS:
            raise BadInput(f"subject {subject[:60]}…: is longer than NATS takes; use shorter names")
        await super()._send_publish(subject, reply, payload, payload_size, headers)

    @property
    def ended(self) -> str | None:
        """Reason why the connection has ended for good; None while it is up or the client reconnects."""
        task = self._reconnection_task
        if self.is_closed:
            return f"it was closed ({self._err or 'without a reason'})"
        if not self.is_connected and task is not None and task.done():
            failure = None if task.cancelled() else task.exception()
            return f"looking for a server has stopped ({failure or self._err or 'without a reason'})"
        return None


@dataclass(frozen=True)
class Login:
    """How to log in: by token, by user and password, or by a file of credentials; over TLS where there is a context."""

    token: str | None = None
    user: str = ""
    password: str | None = None
    credentials: Path | None = None
    context: ssl.SSLContext | None = None
    renew: Callable[[], ssl.SSLContext | None] | None = None


def login(settings: Settings, url: str) -> Login:
    """Return the login that the settings give for NATS at ``url``."""
    token, password = settings.nats_token, settings.nats_password
    return Login(
        token.get_secret_value() if token else None,
        settings.nats_user,
        password.get_secret_value() if password else None,
        settings.nats_credentials,
        tls.nats_context(settings, url),
        partial(tls.nats_context, settings, url),
    )


def inbox(user: str) -> str:
    """Return the prefix of the subjects on which a user gets replies; no other user may read them."""
    return f"_INBOX_{user}" if user else "_INBOX"


def _options(login: Login) -> dict[str, Any]:
    found: dict[str, Any] = {"token": login.token, "inbox_prefix": inbox(login.user)}
    if login.user:
        found |= {"user": login.user, "password": login.password or ""}
    if login.credentials is not None:
        found["user_credentials"] = str(login.credentials)
    if login.context is not None:
        found["tls"] = login.context
    return found


def _refused(reason: str) -> bool:
    return "authorization" in reason.lower() or "authentication" in reason.lower()


def _remedy(reason: str) -> str:
    if _refused(reason):
        return "set TESSERA_NATS_TOKEN, or TESSERA_NATS_USER and TESSERA_NATS_PASSWORD, as the server requires"
    if any(sign in reason.lower() for sign in ("certificate", "ssl", "tls")):
        return (
            "check TESSERA_NATS_CA, the name in the server's certificate, and TESSERA_NATS_CERT where it asks for one"
        )
    # A server that refuses says so and closes; what we had sent meanwhile can turn its words into a reset.
    if any(sign in reason.lower() for sign in ("connection reset", "broken pipe", "unexpected eof")):
        return (
            "the server ended the connection: if it requires a token or a certificate, set TESSERA_NATS_TOKEN or "
            "TESSERA_NATS_CERT; else read its log"
        )
    return "start nats-server with JetStream (-js), or set TESSERA_NATS_URL"


async def open_client(url: str, *, name: str, login: Login, first_seconds: float = 5.0) -> Connection:
    """Connect to NATS; afterwards reconnect for ever, with pauses that grow from 0.2 to 5 s.

    Only the first connection is bounded: Unavailable names the address, the last error and the remedy.
    """
    client = Connection()
    client.encrypted = login.context is not None
    client.renew = login.renew if client.encrypted else None
    last: list[str] = ["no answer"]
    seldom = Seldom(_log)
    loop = asyncio.get_running_loop()
    ends = loop.time() + first_seconds
    opened = False

    async def on_error(error: Exception) -> None:
        said = str(error) or type(error).__name__
        if not opened:  # the caller is told at the end; a refusal says more than what the next attempt meets
            last[0] = last[0] if _refused(last[0]) else said
            if loop.time() > ends:  # `wait_for` of Python 3.11 can lose the cancellation by the timeout below
                raise TimeoutError
            return
        last[0] = said
        if not client.is_connected:
            client.options["reconnect_time_wait"] = min(2 * client.options["reconnect_time_wait"], _RECONNECT_MAX)
        if not client.is_closed:
            seldom.warning("trouble with the connection to NATS", error=last[0])

    async def on_reconnected() -> None:
        client.options["reconnect_time_wait"] = _RECONNECT_MIN
        _log.info("connected to NATS again")

    try:
        async with asyncio.timeout(first_seconds):
            await client.connect(
                [server.strip() for server in url.split(",")],
                name=name,
                **_options(login),
                error_cb=on_error,
                reconnected_cb=on_reconnected,
                reconnect_time_wait=_RECONNECT_MIN,  # type: ignore[arg-type]  # declared int, used as float
                max_reconnect_attempts=-1,
                connect_timeout=2,
                drain_timeout=5,
                ping_interval=10,
                max_outstanding_pings=2,
            )
    except (*SILENCE, ValueError) as error:
        reason = last[0] if isinstance(error, TimeoutError) else str(error)
        # The library raises AssertionError when it closes a connection that it never opened.
        with contextlib.suppress(*SILENCE, AttributeError, AssertionError):
            await client.close()
        raise Unavailable(f"NATS at {redacted(url)}: {redacted(reason)}; {_remedy(reason)}") from None
    opened = True
    client.options["reconnect_time_wait"] = _RECONNECT_MIN
    return client
