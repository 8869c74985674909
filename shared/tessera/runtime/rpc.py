"""gRPC, both ends; the only module that imports ``grpc``.

Servers are built from tables of endpoints, so that no service has transport code of its own. Errors travel as a status
with one sentence, never a traceback, and become the same classes of ``tessera.errors`` on the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from tessera.errors import BadInput, TesseraError, Unavailable
from tessera.runtime import errors, observing, tls, tracing
from tessera.runtime.access import Access, Proof, bearer
from tessera.runtime.endpoints import Endpoint as Endpoint
from tessera.runtime.endpoints import Places
from tessera.runtime.endpoints import Stream as Stream
from tessera.runtime.endpoints import Unary as Unary
from tessera.runtime.settings import Settings, load

_log = logging.getLogger(__name__)
_Response = TypeVar("_Response", bound=Message)

_KINDS: Final[tuple[type[TesseraError], ...]] = tuple(errors.OUTCOMES)
_REASONS: Final = {kind.reason: kind for kind in _KINDS}
_REASON: Final = "tessera-reason"
_DETAIL_CHARACTERS: Final = 2000
_HEADROOM: Final = 64
_AUTHORIZATION: Final = "authorization"


def options(settings: Settings) -> list[tuple[str, int]]:
    """Return the limits and keep-alive of servers and channels."""
    keepalive = int(settings.grpc_keepalive * 1000)
    return [
        ("grpc.max_receive_message_length", settings.grpc_message_bytes),
        ("grpc.max_send_message_length", settings.grpc_message_bytes),
        ("grpc.keepalive_time_ms", keepalive),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", keepalive // 2),
        # A second server on the port is an error, not a silent share of the calls.
        ("grpc.so_reuseport", 0),
    ]


class Server:
    """A gRPC server with health and reflection; ``address`` is known after ``start``."""

    def __init__(self, endpoints: Sequence[Endpoint], settings: Settings) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]  # not in the stubs
        self._server: aio.Server | None = None
        self._services: tuple[str, ...] = ()
        self.address = ""

    async def start(self) -> str:
        """Listen and report SERVING; returns ``host:port``.

        BadInput when the port is taken, or is open to other machines without protection (`tls.check_binding`).
        """
        tls.check_binding(self._settings)
        access = Access(self._settings.access)
        calls = Places(self._settings.grpc_concurrency, "calls", "TESSERA_GRPC_CONCURRENCY")
        streams = Places(self._settings.grpc_streams, "streams", "TESSERA_GRPC_STREAMS")
        # The library's own limit also counts health and reflection, so it is higher than ours.
        most = calls.most + streams.most + _HEADROOM
        server = aio.server(options=options(self._settings), maximum_concurrent_rpcs=most)
        services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
        for endpoint in self._endpoints:
            service, method = endpoint.path.split("/")
            places = calls if isinstance(endpoint, Unary) else streams
            services.setdefault(service, {})[method] = _handler(endpoint, places, access)
        for service, handlers in services.items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        host = self._settings.grpc_host
        try:
            port = self._listen(server, f"{host}:{self._settings.grpc_port}")
        except RuntimeError:
            port = 0
        if not port:
            raise BadInput(
                f"gRPC address {host}:{self._settings.grpc_port}: another process uses it, or it is not ours; "
                "set TESSERA_GRPC_HOST and TESSERA_GRPC_PORT (0: any free port)"
            )
        await server.start()
        self._services = ("", *services)
        await self.report(serving=True)
        self._server = server
        self.address = f"{host}:{port}"
        return self.address

    def _listen(self, server: aio.Server, where: str) -> int:
        identity = tls.grpc_identity(self._settings)
        if identity is None or not identity.certificate:
            return server.add_insecure_port(where)

        def renewed() -> Any:
            # At each handshake, so that a renewed certificate is used; None keeps the last one.
            try:
                found = tls.grpc_identity(self._settings)
            except TesseraError as error:
                _log.warning("a renewed certificate cannot be used", extra={"error": str(error)})
                return None
            return None if found is None else _server_certificates(found)

        credentials = grpc.dynamic_ssl_server_credentials(
            _server_certificates(identity), renewed, require_client_authentication=self._settings.grpc_client_certs
        )
        return server.add_secure_port(where, credentials)

    async def report(self, *, serving: bool) -> None:
        """Report to the health service whether this process can work; after ``drain`` it stays NOT_SERVING."""
        statuses = health_pb2.HealthCheckResponse
        for service in self._services:
            await self._health.set(service, statuses.SERVING if serving else statuses.NOT_SERVING)

    async def drain(self) -> None:
        """Report NOT_SERVING at once and for ever; calls are still answered."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace: float) -> None:
        """Refuse new calls, give running ones ``grace`` seconds, then cancel them."""
        if self._server is not None:
            await self._server.stop(grace)


def _server_certificates(identity: tls.KeyPair) -> Any:
    pair = (identity.key, identity.certificate)
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=identity.authority)


def _proof(context: aio.ServicerContext[Any, Any]) -> Proof:
    """Return what the caller showed: its token, and the names in its certificate."""
    sent: Any = context.invocation_metadata() or ()
    header = next((str(value) for key, value in sent if key == _AUTHORIZATION), "")
    shown: Any = context.auth_context()
    kinds = (("cn", "x509_common_name"), ("san", "x509_subject_alternative_name"))
    names = [f"{kind}:{name.decode(errors='replace')}" for kind, key in kinds for name in shown.get(key, ())]
    return Proof(bearer(header), tuple(names))


def _handler(endpoint: Endpoint, places: Places, access: Access) -> Any:
    """Make the handler of an endpoint; it parses the request, so that garbage is INVALID_ARGUMENT, not INTERNAL."""

    def parse(data: bytes) -> Message:
        try:
            return endpoint.request.FromString(data)
        except DecodeError:
            raise BadInput(f"{endpoint.path}: the request is not a readable {endpoint.request.__name__}") from None

    async def unary(data: bytes, context: aio.ServicerContext[Any, Any]) -> bytes:
        assert isinstance(endpoint, Unary)  # noqa: S101  # chosen below
        try:
            with observing.call(endpoint.path, _metadata(context)):
                access.check(endpoint.path, _proof(context))
                with places.taken(endpoint.path):
                    return _bytes(await endpoint.function(parse(data)))
        except Exception as error:
            await _abort(context, endpoint.path, error)

    async def stream(data: bytes, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
        assert isinstance(endpoint, Stream)  # noqa: S101  # chosen below
        try:
            # Not traced: a client may watch a run for days.
            with observing.call(endpoint.path, None):
                access.check(endpoint.path, _proof(context))
                with places.taken(endpoint.path):
                    async with contextlib.aclosing(endpoint.function(parse(data))) as messages:
                        async for message in messages:
                            yield _bytes(message)
        except Exception as error:
            await _abort(context, endpoint.path, error)

    if isinstance(endpoint, Unary):
        return grpc.unary_unary_rpc_method_handler(unary)
    return grpc.unary_stream_rpc_method_handler(stream)


def _metadata(context: aio.ServicerContext[Any, Any]) -> dict[str, str]:
    """Return what the caller sent beside its request, as text."""
    sent: Any = context.invocation_metadata() or ()
    return {str(key): value for key, value in sent if isinstance(value, str)}


def _bytes(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString(deterministic=True)


async def _abort(context: aio.ServicerContext[Any, Any], path: str, error: Exception) -> NoReturn:
    """End a call with the status of an error; no other function does."""
    if not isinstance(error, TesseraError):
        _log.error("a call failed unexpectedly", extra={"path": path}, exc_info=error)
    known = errors.as_error(error)
    code = grpc.StatusCode[errors.status_name(known)]
    await context.abort(code, str(known)[:_DETAIL_CHARACTERS], ((_REASON, known.reason),))
    raise AssertionError("abort raises")


class Exchange(NamedTuple):
    """How a call ended: the status code's name, the response's bytes, the server's text and its ``tessera-reason``."""

    code: str
    data: bytes = b""
    text: str = ""
    reason: str = ""

    def error(self, address: str, method: str, limit: float | None) -> TesseraError:
        """Return the error of a call that was not answered: the server's own, or one that names method and address."""
        kind = _REASONS.get(self.reason)
        return kind(self.text) if kind is not None else _wire_error(address, method, limit, self.code, self.text)


class Channel:
    """A client of one server. Every call has a deadline, in seconds."""

    def __init__(self, address: str, settings: Settings | None = None) -> None:
        self.address = address
        self._settings = settings or load()
        self._stamp = tls.grpc_stamp(self._settings)
        self._opened = [self._open()]

    def _open(self) -> Any:
        # use_local_subchannel_pool: a refused connection of an earlier channel does not delay this one.
        fixed = [*options(self._settings), ("grpc.use_local_subchannel_pool", 1)]
        identity = tls.grpc_identity(self._settings)
        if identity is None:
            return aio.insecure_channel(self.address, options=fixed)
        credentials = grpc.ssl_channel_credentials(
            identity.authority, identity.key or None, identity.certificate or None
        )
        return aio.secure_channel(self.address, credentials, options=fixed)

    @property
    def _channel(self) -> Any:
        """Return the newest channel: the library reads certificates once, so renewed ones need a channel of their own.

        Calls that run keep theirs until the end.
        """
        if (stamp := tls.grpc_stamp(self._settings)) != self._stamp:
            try:
                self._opened.append(self._open())
                self._stamp = stamp
            except BadInput as error:
                # Files are replaced one after the other.
                _log.warning("a renewed certificate cannot be used", extra={"error": str(error)})
        return self._opened[-1]

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the headers of a call: the trace around it, and the token of this process, each if there is one."""
        traced = tuple(tracing.headers().items())
        found = tls.token(self._settings)
        if not found:
            return traced
        tls.check_token(self._settings, self.address)
        return (*traced, (_AUTHORIZATION, f"Bearer {found}"))

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the calls that run and disconnect."""
        for each in self._opened:
            await each.close(None)

    async def call(self, method: str, request: Message, response: type[_Response], timeout: float) -> _Response:  # noqa: ASYNC109
        """Call ``package.Service/Method``; raises the server's error, or Unavailable naming the address."""
        with _raised(self.address, method, timeout):
            stub: Any = self._channel.unary_unary(f"/{method}")
            return response.FromString(
                await stub(request.SerializeToString(), timeout=timeout, metadata=self._metadata())
            )

    async def exchange(self, method: str, data: bytes, timeout: float) -> Exchange:  # noqa: ASYNC109
        """Send bytes as they are and return how the call ended; no status raises."""
        stub: Any = self._channel.unary_unary(f"/{method}")
        try:
            return Exchange("OK", bytes(await stub(data, timeout=timeout, metadata=self._metadata())))
        except aio.AioRpcError as error:
            return _ended(error)

    async def stream(
        self,
        method: str,
        request: Message,
        response: type[_Response],
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> AsyncIterator[_Response]:
        """Call a method that streams; as ``call``, but a stream may last (no timeout: for ever)."""
        with _raised(self.address, method, timeout):
            stub: Any = self._channel.unary_stream(f"/{method}")
            async for data in stub(request.SerializeToString(), timeout=timeout, metadata=self._metadata()):
                yield response.FromString(data)


async def call(
    address: str,
    method: str,
    request: Message,
    response_type: type[_Response],
    timeout: float,  # noqa: ASYNC109
) -> _Response:
    """Call ``package.Service/Method`` once, on a connection of its own."""
    async with Channel(address) as channel:
        return await channel.call(method, request, response_type, timeout)


async def stream(
    address: str,
    method: str,
    request: Message,
    response_type: type[_Response],
    timeout: float | None = None,  # noqa: ASYNC109
) -> AsyncIterator[_Response]:
    """Call a streaming method, on a connection of its own."""
    async with Channel(address) as channel:
        async for message in channel.stream(method, request, response_type, timeout):
            yield message


async def is_serving(address: str, service: str = "", timeout: float = 5.0) -> bool:  # noqa: ASYNC109
    """Ask the health service; False when it says so or does not answer."""
    request = health_pb2.HealthCheckRequest(service=service)
    with contextlib.suppress(TesseraError):
        answer = await call(address, "grpc.health.v1.Health/Check", request, health_pb2.HealthCheckResponse, timeout)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    return False


async def reflected(address: str, timeout: float = 5.0) -> list[str]:  # noqa: ASYNC109
    """Return the names of the services that the server's reflection lists."""
    with _raised(address, "reflection", timeout):
        async with Channel(address) as channel:
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            stub: Any = channel._channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
            async for data in stub(iter([asked.SerializeToString()]), timeout=timeout):
                answer = reflection_pb2.ServerReflectionResponse.FromString(data)
                return [service.name for service in answer.list_services_response.service]
    return []


@contextlib.contextmanager
def _raised(address: str, method: str, limit: float | None) -> Iterator[None]:
    """Turn a status into one of our errors; no other function does."""
    try:
        yield
    except aio.AioRpcError as error:
        raise _ended(error).error(address, method, limit) from None
    except asyncio.CancelledError:
        raise


def _ended(error: aio.AioRpcError) -> Exchange:
    """Return how a call ended that was not answered."""
    trailing: Any = error.trailing_metadata() or ()
    reason = next((str(value) for key, value in trailing if str(key) == _REASON), "")
    return Exchange(error.code().name, b"", error.details() or "", reason)


def _wire_error(address: str, method: str, limit: float | None, status: str, text: str) -> TesseraError:
    """Make the error for a failure of gRPC itself."""
    what, code = f"{method} at {address}", grpc.StatusCode[status]
    if code == grpc.StatusCode.UNAVAILABLE and _is_handshake(text):
        return Unavailable(
            f"{what}: no secure connection ({text}); check that both sides use TLS, TESSERA_GRPC_CA, the name in the "
            "server's certificate, and TESSERA_GRPC_CERT where the server asks for a certificate"
        )
    if code == grpc.StatusCode.UNAVAILABLE:
        return Unavailable(f"{what}: no server answers ({text}); start the service or check the address")
    if code == grpc.StatusCode.CANCELLED:
        return Unavailable(f"{what}: the server left in the middle of the call; try again")
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unavailable(f"{what}: no answer within {limit:g} s; it may be busy, try again or wait longer")
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Unavailable(f"{what}: refused, too many calls or too large a message ({text})")
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return BadInput(f"{what}: there is no such method; check that the address is the right service's")
    return TesseraError(f"{what}: {code.name.lower()}: {text}")


def _is_handshake(text: str) -> bool:
    """Return whether a connection failed at TLS, on either side."""
    return any(
        word in text.lower() for word in ("ssl", "tls", "handshake", "certificate", "secure", "verification check")
    )
