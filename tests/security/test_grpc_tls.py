"""TLS of gRPC (S14): who is refused, who is let in, renewal, and ports that would be open to everybody."""

from __future__ import annotations

import asyncio
import shutil
import socket
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from certificates import make, serving
from tessera.errors import BadInput, Unavailable
from tessera.pb.common_pb2 import ImageRange
from tessera.runtime import rpc
from tessera.runtime.settings import load

ECHO = "toy.Toy/Echo"


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("tls"), "server", "client", "elsewhere=DNS:elsewhere.example.org")


async def _echo(request: ImageRange) -> ImageRange:
    return request


@asynccontextmanager
async def served(**given: Any) -> AsyncIterator[str]:
    server = rpc.Server([rpc.Unary(ECHO, ImageRange, _echo)], load(**given))
    try:
        yield await server.start()
    finally:
        await server.stop(0)


async def said(address: str, **given: Any) -> str:
    """What the server says to a client with these settings."""
    async with rpc.Channel(address, load(**given)) as channel:
        answer = await channel.call(ECHO, ImageRange(split="hello"), ImageRange, 10)
        return answer.split


async def test_the_right_authority_is_let_in(certs: Path) -> None:
    async with served(**serving(certs, "server")) as address:
        assert await said(address, grpc_ca=certs / "ca.crt") == "hello"
        port = address.rpartition(":")[2]
        assert await said(f"localhost:{port}", grpc_ca=certs / "ca.crt") == "hello"


async def test_plaintext_wrong_authority_wrong_name_and_expired_are_refused(certs: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", "server")
    # Valid until the moment in which it is made.
    for name in ("ca.crt", "ca.key"):
        (tmp_path / "old").mkdir(exist_ok=True)
        shutil.copy(certs / name, tmp_path / "old" / name)
    old = make(tmp_path / "old", "server", days=0)
    await asyncio.sleep(1.1)
    refused = r"no secure connection|no server answers"
    async with served(**serving(certs, "server")) as address:
        with pytest.raises(Unavailable, match=refused):
            await said(address)
        with pytest.raises(Unavailable, match=r"no secure connection .*TESSERA_GRPC_CA"):
            await said(address, grpc_ca=other / "ca.crt")
        assert await said(address, grpc_ca=certs / "ca.crt") == "hello"
    async with served(**serving(certs, "elsewhere")) as address:
        with pytest.raises(Unavailable, match="no secure connection"):
            await said(address, grpc_ca=certs / "ca.crt")
    async with served(**serving(old, "server")) as address:
        with pytest.raises(Unavailable, match="no secure connection"):
            await said(address, grpc_ca=old / "ca.crt")
    async with served() as address:
        with pytest.raises(Unavailable, match=refused):
            await said(address, grpc_ca=certs / "ca.crt")


async def test_a_server_that_asks_for_certificates_answers_only_those_of_its_authority(
    certs: Path, tmp_path: Path
) -> None:
    other = make(tmp_path / "other", "client")
    async with served(**serving(certs, "server"), grpc_client_certs=True) as address:
        assert await said(address, **serving(certs, "client")) == "hello"
        with pytest.raises(Unavailable):
            await said(address, grpc_ca=certs / "ca.crt")
        with pytest.raises(Unavailable):
            await said(address, **{**serving(other, "client"), "grpc_ca": certs / "ca.crt"})


async def test_the_health_check_of_a_container_speaks_tls(certs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in serving(certs, "server").items():
        monkeypatch.setenv(f"TESSERA_{name.upper()}", str(value))
    monkeypatch.setenv("TESSERA_GRPC_CLIENT_CERTS", "true")
    async with served() as address:
        assert await rpc.is_serving(address)
        monkeypatch.delenv("TESSERA_GRPC_CLIENT_CERTS")
        for name in ("CERT", "KEY"):
            monkeypatch.delenv(f"TESSERA_GRPC_{name}")
        assert not await rpc.is_serving(address)


async def test_a_renewed_certificate_is_used_without_a_restart(certs: Path, tmp_path: Path) -> None:
    live, fresh = make(tmp_path / "live", "server"), make(tmp_path / "fresh", "server")
    async with served(**serving(live, "server")) as address:
        assert await said(address, grpc_ca=live / "ca.crt") == "hello"
        old = live / "old.crt"
        shutil.copy(live / "ca.crt", old)
        for name in ("ca.crt", "server.crt", "server.key"):
            (live / name).unlink()
            # A pair that does not fit, for a moment: the last one is used on.
            assert name != "server.key" or await said(address, grpc_ca=old) == "hello"
            shutil.copy(fresh / name, live / name)
        assert await said(address, grpc_ca=fresh / "ca.crt") == "hello"
        with pytest.raises(Unavailable, match="no secure connection"):
            await said(address, grpc_ca=old)


async def test_a_client_that_stays_uses_renewed_certificates_without_a_restart(tmp_path: Path) -> None:
    live, fresh = make(tmp_path / "live", "server", "client"), make(tmp_path / "fresh", "server", "client")
    async with (
        served(**serving(live, "server"), grpc_client_certs=True) as old,
        served(**serving(fresh, "server"), grpc_client_certs=True) as new,
        rpc.Channel(old, load(**serving(live, "client"))) as stays,
        rpc.Channel(new, load(**serving(live, "client"))) as waits,
    ):
        answer = await stays.call(ECHO, ImageRange(split="old"), ImageRange, 10)
        assert answer.split == "old"
        with pytest.raises(Unavailable, match="no secure connection"):
            await waits.call(ECHO, ImageRange(), ImageRange, 10)
        shutil.copy(fresh / "client.key", live / "client.key")
        # A pair that does not fit, for a moment: the last one is used on.
        answer = await stays.call(ECHO, ImageRange(split="old"), ImageRange, 10)
        assert answer.split == "old"
        for name in ("ca.crt", "client.crt"):
            shutil.copy(fresh / name, live / name)
        answer = await waits.call(ECHO, ImageRange(split="new"), ImageRange, 10)
        assert answer.split == "new"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "10.1.2.3", "coordinator"])  # noqa: S104
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "no TLS .* and no known callers"),
        ({"access": "file"}, r"no TLS \(TESSERA_GRPC_CERT"),
        ({"tls": True}, r"no known callers \(TESSERA_ACCESS"),
    ],
)
async def test_an_open_port_is_refused(
    certs: Path, tmp_path: Path, host: str, given: dict[str, Any], named: str
) -> None:
    (tmp_path / "access").write_text("")
    settings: dict[str, Any] = {"access": tmp_path / "access"} if "access" in given else {}
    settings |= serving(certs, "server") if "tls" in given else {}
    with pytest.raises(BadInput, match=f"{named}.*TESSERA_INSECURE=true"):
        async with served(grpc_host=host, **settings):
            pytest.fail("it serves")


async def test_an_open_port_is_allowed_where_it_is_protected_or_the_settings_say_so(
    certs: Path, tmp_path: Path
) -> None:
    (tmp_path / "access").write_text("")
    protected = {**serving(certs, "server"), "access": tmp_path / "access"}
    mutual = {**serving(certs, "server"), "grpc_client_certs": True}
    for given in (protected, mutual, {"insecure": True}):
        async with served(grpc_host="0.0.0.0", **given) as address:  # noqa: S104
            with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=5):
                pass


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"grpc_key": None}, "TESSERA_GRPC_CERT and TESSERA_GRPC_KEY: set both or neither"),
        ({"grpc_ca": None}, "TESSERA_GRPC_CERT: needs TESSERA_GRPC_CA"),
        ({"grpc_key": "client.key"}, r"TESSERA_GRPC_CERT .*server\.crt, TESSERA_GRPC_KEY .*client\.key"),
        ({"grpc_ca": "server.key"}, r"TESSERA_GRPC_CA .*server\.key"),
        ({"grpc_cert": "absent"}, r"TESSERA_GRPC_CERT .*absent: No such file"),
    ],
)
async def test_certificates_that_do_not_fit_are_named(certs: Path, change: dict[str, Any], named: str) -> None:
    given = serving(certs, "server")
    given |= {name: value if value is None else certs / value for name, value in change.items()}
    with pytest.raises(BadInput, match=named):
        async with served(**given):
            pytest.fail("it serves")


def test_keys_are_their_owners_alone_and_the_authority_stays(certs: Path, tmp_path: Path) -> None:
    folder = make(tmp_path / "twice", "one")
    before = (folder / "ca.crt").read_bytes()
    make(folder, "two")
    assert (folder / "ca.crt").read_bytes() == before
    assert {path.name for path in folder.iterdir()} == {
        *("ca.crt", "ca.key", "one.crt", "one.key", "two.crt", "two.key"),
    }
    for key in folder.glob("*.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    verified = subprocess.run(
        ["openssl", "verify", "-CAfile", str(folder / "ca.crt"), str(folder / "one.crt"), str(folder / "two.crt")],
        check=False,
        capture_output=True,
    )
    assert verified.returncode == 0, verified.stderr
