"""Certificates and keys of this process, read from their files; and whether a port may be open to other machines."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from tessera.errors import BadInput
from tessera.runtime.redaction import redacted
from tessera.runtime.settings import Settings


@dataclass(frozen=True)
class KeyPair:
    """Contents of PEM files: the authority to trust, and this process's own certificate and key (empty: none)."""

    authority: bytes
    certificate: bytes = b""
    key: bytes = b""


def grpc_identity(settings: Settings) -> KeyPair | None:
    """Return what gRPC's TLS needs, read anew at every call; None where it is off. BadInput names a file that is wrong.

    A renewed certificate comes as a change of files, so that nothing has to start again.
    """
    if settings.grpc_ca is None:
        return None
    authority = _read("TESSERA_GRPC_CA", settings.grpc_ca)
    if settings.grpc_cert is None or settings.grpc_key is None:
        return KeyPair(authority)
    paths = {"TESSERA_GRPC_CERT": settings.grpc_cert, "TESSERA_GRPC_KEY": settings.grpc_key}
    certificate, key = pair = [_read(name, path) for name, path in paths.items()]
    _fits("GRPC", settings.grpc_ca, settings.grpc_cert, settings.grpc_key)
    if pair != [_read(name, path) for name, path in paths.items()]:
        raise BadInput(f"TESSERA_GRPC_CERT {settings.grpc_cert}: replaced while it was read; it is read again later")
    return KeyPair(authority, certificate, key)


def grpc_stamp(settings: Settings) -> tuple[object, ...]:
    """Return what changes when a file of gRPC's TLS is replaced."""
    return tuple(map(_stat, filter(None, (settings.grpc_ca, settings.grpc_cert, settings.grpc_key))))


def nats_context(settings: Settings, url: str) -> ssl.SSLContext | None:
    """Return the TLS context for NATS at ``url``, of the files as they are now; None where nothing asks for TLS.

    BadInput names a file that is wrong.
    """
    encrypted = any(server.strip().startswith("tls://") for server in url.split(","))
    if settings.nats_ca is None and settings.nats_cert is None and not encrypted:
        return None
    return _fits("NATS", settings.nats_ca, settings.nats_cert, settings.nats_key)


def http_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the dashboard's TLS context; None where it has no certificate. BadInput names a file that is wrong."""
    if settings.http_cert is None or settings.http_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_pair(context, "HTTP", settings.http_cert, settings.http_key)
    return context


def replace(context: ssl.SSLContext, renewed: ssl.SSLContext | None) -> None:
    """Let the next connections of a server's context have the renewed one.

    A pair is never loaded into the context of a running server: files that do not fit yet would leave it with a new
    certificate and no key.
    """

    def answer(connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if renewed is not None:
            connection.context = renewed

    context.sni_callback = answer  # called whether or not the caller names a server


def _load_pair(context: ssl.SSLContext, name: str, certificate: Path, key: Path) -> None:
    """Load a certificate and its key; BadInput names files that do not fit."""
    try:
        context.load_cert_chain(str(certificate), str(key), password=_no_password)
    except (OSError, ssl.SSLError) as error:
        raise BadInput(
            f"TESSERA_{name}_CERT {certificate}, TESSERA_{name}_KEY {key}: {error}; name a PEM certificate and its "
            "key, without a password"
        ) from None


def check_binding(settings: Settings) -> None:
    """Refuse to serve other machines unless callers are known and their calls are encrypted, or the settings say so."""
    if settings.insecure or is_loopback(settings.grpc_host):
        return
    missing = []
    if settings.grpc_cert is None:
        missing.append("TLS (TESSERA_GRPC_CERT, TESSERA_GRPC_KEY, TESSERA_GRPC_CA)")
    if settings.access is None and not settings.grpc_client_certs:
        missing.append("known callers (TESSERA_ACCESS, or TESSERA_GRPC_CLIENT_CERTS=true)")
    if missing:
        raise BadInput(
            f"TESSERA_GRPC_HOST {settings.grpc_host}: other machines reach this port, and it has no "
            f"{' and no '.join(missing)}; set them, or TESSERA_GRPC_HOST=127.0.0.1, or TESSERA_INSECURE=true where "
            "something else protects the port"
        )


def check_page(settings: Settings) -> None:
    """Refuse to serve pages to other machines in the clear unless the settings say what else protects them."""
    encrypted = settings.http_cert is not None or settings.http_secure
    if not (is_loopback(settings.http_host) or encrypted or settings.insecure):
        raise BadInput(
            f"TESSERA_HTTP_HOST {settings.http_host}: other machines reach this port in the clear; set "
            "TESSERA_HTTP_CERT and TESSERA_HTTP_KEY, or put a server that speaks TLS in front and set "
            "TESSERA_HTTP_SECURE=true, or set TESSERA_HTTP_HOST=127.0.0.1, or TESSERA_INSECURE=true where something "
            "else protects the way"
        )


def check_token(settings: Settings, address: str) -> None:
    """Refuse to send a token to another machine in the clear unless the settings say so."""
    host = address.rpartition(":")[0]
    if settings.grpc_ca is None and not settings.insecure and not is_loopback(host):
        raise BadInput(
            f"the token for {redacted(address)} would travel in the clear; set TESSERA_GRPC_CA for TLS, or "
            "TESSERA_INSECURE=true where something else protects the way"
        )


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's alone."""
    name = host.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def token(settings: Settings) -> str:
    """Return the token that calls carry, read anew at every call; BadInput where its file cannot be read."""
    if settings.token is not None:
        return settings.token.get_secret_value()
    if settings.token_file is None:
        return ""
    return _read("TESSERA_TOKEN_FILE", settings.token_file).decode(errors="replace").strip()


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{setting} {path}: {error.strerror or error}; name a file that this user may read") from None


def _fits(name: str, authority: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return a client's context of these files; BadInput if one is no PEM, or the key is of another certificate."""
    try:
        context = ssl.create_default_context(cafile=str(authority) if authority else None)
    except (OSError, ssl.SSLError) as error:
        raise BadInput(f"TESSERA_{name}_CA {authority}: {error}; name a file of PEM certificates") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None and key is not None:
        _load_pair(context, name, certificate, key)
    return context


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _no_password() -> str:
    """Answer for a key that is encrypted: OpenSSL would ask the terminal and wait."""
    return ""
