"""TLS and logins of NATS: real nats-server with certificates; nothing is ever sent in the clear where TLS is asked."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from certificates import make
from servers import NatsProcess, running
from tessera.errors import BadInput, Unavailable
from tessera.runtime import topology
from tessera.runtime.messaging import Messaging, connect
from tessera.runtime.settings import load

PASSWORD = "pa55-w0rd"  # noqa: S105  # of a server that lives as long as one test


class SecureNats(NatsProcess):
    """A server that speaks TLS, and asks for what ``extra`` says."""

    def __init__(self, folder: Path, certs: Path, *, verify: bool = False, extra: str = "") -> None:
        super().__init__(folder)
        self.certs, self.verify, self.extra = certs, verify, extra

    def arguments(self) -> list[str]:
        arguments = super().arguments()
        with (self.folder / "nats.conf").open("a") as file:
            file.write(
                f'tls {{ cert_file: "{self.certs}/server.crt", key_file: "{self.certs}/server.key", '
                f'ca_file: "{self.certs}/ca.crt", verify: {str(self.verify).lower()} }}\n{self.extra}\n'
            )
        return arguments


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("tls"), "server", "client", "elsewhere=DNS:elsewhere.example.org")


@asynccontextmanager
async def connected(url: str, **given: Any) -> AsyncIterator[Messaging]:
    messaging = await connect(url, name="test", settings=load(**given))
    try:
        yield messaging
    finally:
        await messaging.close()


async def refusal(url: str, **given: Any) -> str:
    """Why there is no connection."""
    with pytest.raises(Unavailable) as caught:
        async with connected(url, **given):
            pytest.fail(f"connected with {given}")
    return str(caught.value)


async def test_messages_travel_over_tls_and_a_restart_keeps_it(certs: Path, tmp_path: Path) -> None:
    with running(SecureNats(tmp_path / "nats", certs)) as server:
        assert isinstance(server, SecureNats)
        for url in (server.url, server.url.replace("nats://", "tls://")):
            async with connected(url, nats_ca=certs / "ca.crt") as nats:
                await topology.ensure(nats, load(), ["score"])
                assert (await nats.publish("tessera.job.score", b"work")).sequence > 0
        async with connected(server.url, nats_ca=certs / "ca.crt") as nats:
            server.restart()
            assert (await nats.publish("tessera.job.score", b"more", patience=60)).sequence > 0


async def test_renewed_certificates_are_used_at_the_next_connection(tmp_path: Path) -> None:
    """The client reads its files for each connection; the server reads its own when it starts."""
    live, fresh = make(tmp_path / "live", "server", "client"), make(tmp_path / "fresh", "server", "client")
    mine = {"nats_ca": live / "ca.crt", "nats_cert": live / "client.crt", "nats_key": live / "client.key"}
    with running(SecureNats(tmp_path / "nats", live, verify=True)) as server:
        assert isinstance(server, SecureNats)
        async with connected(server.url, **mine) as nats:
            await topology.ensure(nats, load(), ["score"])
            # A pair that does not fit, for a moment: the last one is used on.
            shutil.copy(fresh / "client.key", live / "client.key")
            server.restart()
            assert (await nats.publish("tessera.job.score", b"the old pair", patience=60)).sequence > 0
            for name in ("ca.crt", "client.crt", "server.crt", "server.key"):
                shutil.copy(fresh / name, live / name)
            server.restart()
            assert (await nats.publish("tessera.job.score", b"the new pair", patience=60)).sequence > 0


async def test_wrong_authorities_and_missing_certificates_are_refused(certs: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", "client")
    with running(SecureNats(tmp_path / "nats", certs, verify=True)) as server:
        assert isinstance(server, SecureNats)
        mine = {"nats_ca": certs / "ca.crt", "nats_cert": certs / "client.crt", "nats_key": certs / "client.key"}
        async with connected(server.url, **mine) as nats:
            await nats.check()
        refused: list[dict[str, Any]] = [
            {"nats_ca": certs / "ca.crt"},
            {**mine, "nats_ca": other / "ca.crt"},
            {**mine, "nats_cert": other / "client.crt", "nats_key": other / "client.key"},
            {},
        ]
        # Together: each is tried again for five seconds.
        for found in await asyncio.gather(*(refusal(server.url, **given) for given in refused)):
            assert found.startswith("NATS at ")
            assert "TESSERA_NATS_C" in found


async def test_a_name_that_the_certificate_lacks_is_refused(certs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name, source in (("ca.crt", "ca.crt"), ("server.crt", "elsewhere.crt"), ("server.key", "elsewhere.key")):
        (folder / name).write_bytes((certs / source).read_bytes())
    with running(SecureNats(tmp_path / "nats", folder)) as server:
        assert isinstance(server, SecureNats)
        with pytest.raises(Unavailable, match=r"certificate.*check TESSERA_NATS_CA"):
            async with connected(server.url, nats_ca=certs / "ca.crt"):
                pytest.fail("connected")


@pytest.mark.parametrize("scheme", ["nats", "tls"])
async def test_whoever_takes_tls_out_of_the_greeting_gets_no_password(certs: Path, scheme: str) -> None:
    """A server in between that claims to know no TLS: the library alone would log in, in the clear."""
    received = bytearray()
    greeted = asyncio.Event()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"auth_required":true}\r\n')
        await writer.drain()
        greeted.set()
        while data := await reader.read(4096):
            received.extend(data)
        writer.close()

    server = await asyncio.start_server(between, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        given: dict[str, Any] = {"nats_user": "scorer", "nats_password": PASSWORD}
        if scheme == "nats":
            given["nats_ca"] = certs / "ca.crt"
        with pytest.raises(Unavailable, match=r"speaks no TLS, which this process demands"):
            async with connected(f"{scheme}://127.0.0.1:{port}", **given):
                pytest.fail("connected")
        assert greeted.is_set()
        await asyncio.sleep(0.1)
    assert bytes(received) == b""


async def test_users_log_in_with_a_password_and_have_replies_of_their_own(certs: Path, tmp_path: Path) -> None:
    users = (
        f'authorization {{ users: [{{ user: "scorer", password: "{PASSWORD}", permissions: {{ publish: ">", '
        'subscribe: "_INBOX_scorer.>" } }] }'
    )
    with running(SecureNats(tmp_path / "nats", certs, extra=users)) as server:
        assert isinstance(server, SecureNats)
        given: dict[str, Any] = {"nats_ca": certs / "ca.crt", "nats_user": "scorer"}
        async with connected(server.url, **given, nats_password=PASSWORD) as nats:
            await nats.check()
        wrong: list[dict[str, Any]] = [{}, {"nats_password": "wrong"}]
        for found in await asyncio.gather(*(refusal(server.url, **given, **password) for password in wrong)):
            assert "TESSERA_NATS_USER and TESSERA_NATS_PASSWORD" in found
            assert PASSWORD not in found


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"nats_cert": "client.crt"}, "TESSERA_NATS_CERT and TESSERA_NATS_KEY: set both or neither"),
        ({"nats_ca": "absent"}, r"TESSERA_NATS_CA .*absent"),
        ({"nats_ca": "client.key"}, r"TESSERA_NATS_CA .*client\.key"),
        ({"nats_cert": "client.crt", "nats_key": "server.key"}, r"TESSERA_NATS_CERT .*server\.key"),
    ],
)
async def test_files_that_do_not_fit_are_named(certs: Path, given: dict[str, str], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        async with connected("nats://127.0.0.1:1", **{name: certs / value for name, value in given.items()}):
            pytest.fail("connected")
