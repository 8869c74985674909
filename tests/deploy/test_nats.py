"""The rendered configurations of NATS, given to a real server."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from certificates import make
from deploy.rendering import rendered
from integration.loop import tessera
from servers import NatsProcess, find_binary, free_port, running
from tessera.errors import Unavailable
from tessera.runtime import catalogue, topology
from tessera.runtime.messaging import connect
from tessera.runtime.permissions import table, variable


def _files(name: str) -> dict[str, str]:
    (found,) = [
        each["data"]
        for each in rendered(name)
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith("nats-")
    ]
    files: dict[str, str] = found
    return files


class RenderedNats(NatsProcess):
    """A server with rendered files, on ports and in folders of this machine."""

    def __init__(self, folder: Path, files: dict[str, str], replacements: dict[str, str], name: str = "nats-0") -> None:
        super().__init__(folder)
        self.monitor = free_port()
        self._files, self._name = files, name
        self._replacements = {
            "0.0.0.0:4222": f"127.0.0.1:{self.port}",
            "0.0.0.0:8222": f"127.0.0.1:{self.monitor}",
            '"/data"': f'"{folder / "data"}"',
            "/var/run/nats": str(folder),
            "$POD_NAME": name,
            **replacements,
        }

    def arguments(self) -> list[str]:
        for called, text in self._files.items():
            for old, new in self._replacements.items():
                text = text.replace(old, new)
            (self.folder / called).write_text(text)
        return ["-c", str(self.folder / "nats.conf")]

    def asked(self, path: str) -> dict[str, object]:
        """What the monitoring port answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor}{path}", timeout=30) as answer:
            found: dict[str, object] = json.load(answer)
        return found


@pytest.mark.parametrize("name", ["nats", "dev-nats", "users"])
def test_the_server_takes_the_configuration(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for user in table():
        monkeypatch.setenv(variable(user), f"p{user}")
    server = RenderedNats(tmp_path, _files(name), {})
    done = subprocess.run(
        [str(find_binary("nats-server")), "-t", *server.arguments()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _scaler_view(answer: dict[str, object]) -> set[str]:
    """Consumers of the stream JOBS in the account $G, read as KEDA's scaler does."""
    (account,) = [each for each in answer["account_details"] if each["name"] == "$G"]  # type: ignore[attr-defined]
    (jobs,) = [each for each in account["stream_detail"] if each["name"] == topology.JOBS]
    assert all({"num_pending", "num_ack_pending"} <= set(each) for each in jobs["consumer_detail"])
    return {each["name"] for each in jobs["consumer_detail"]}


def test_a_scaler_finds_every_queue_once_the_topology_is_made(tmp_path: Path) -> None:
    with running(RenderedNats(tmp_path, _files("dev-nats"), {})) as server:
        assert isinstance(server, RenderedNats)
        done = tessera("topology", TESSERA_NATS_URL=server.url)
        assert done.returncode == 0, done.stderr
        verbs = [method.verb for _, method in catalogue.methods().values()]
        found = _scaler_view(server.asked("/jsz?acc=$G&consumers=true&config=true"))
        assert found == {topology.consumer_name(verb) for verb in verbs}
        settings = server.asked("/jsz")["config"]
        assert settings["sync_always"] is True  # type: ignore[index]


async def test_clients_trust_the_authority_that_they_are_told_of_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    for folder in (tmp_path, stranger):
        # As cert-manager names their files.
        make(folder, "tls=IP:127.0.0.1")
    # A server by itself: what is tested is the part for clients.
    alone = {"nats.conf": _files("tls")["nats.conf"].split("cluster {")[0] + 'include "tls.conf"\n'}
    alone["tls.conf"] = _files("tls")["tls.conf"]
    # The setting that the rendered map names.
    (told,) = [each["data"]["TESSERA_NATS_CA"] for each in rendered("tls") if "TESSERA_NATS_CA" in each.get("data", {})]
    with running(RenderedNats(tmp_path, alone, {"/etc/nats-tls": str(tmp_path)})) as server:
        assert isinstance(server, RenderedNats)
        url = server.url.replace("nats://", "tls://")
        monkeypatch.setenv("TESSERA_NATS_CA", str(tmp_path / Path(told).name))
        connection = await connect(url, name="test", first_seconds=30)
        await connection.check()
        await connection.close()
        monkeypatch.setenv("TESSERA_NATS_CA", str(stranger / Path(told).name))
        with pytest.raises(Unavailable, match="certificate"):
            await connect(url, name="test", first_seconds=3)


@contextlib.contextmanager
def _three(folder: Path) -> Iterator[list[RenderedNats]]:
    routes = {f"nats-{index}.nats-headless:6222": f"127.0.0.1:{free_port()}" for index in range(3)}
    nodes = [
        RenderedNats(
            folder / name, _files("nats"), {**routes, "0.0.0.0:6222": routes[f"{name}.nats-headless:6222"]}, name
        )
        for name in ("nats-0", "nats-1", "nats-2")
    ]
    try:
        for node in nodes:
            node.start()
        yield nodes
    finally:
        for node in nodes:
            node.kill()


@pytest.mark.full
def test_three_servers_form_a_cluster_in_which_every_stream_has_three_copies(tmp_path: Path) -> None:
    with _three(tmp_path) as nodes:
        url = ",".join(node.url for node in nodes)
        end = time.monotonic() + 120
        # As the Job does: until the cluster has elected whoever answers.
        while (done := tessera("topology", TESSERA_NATS_URL=url, TESSERA_NATS_REPLICAS="3")).returncode:
            assert time.monotonic() < end, done.stderr
        again = tessera("topology", TESSERA_NATS_URL=nodes[2].url, TESSERA_NATS_REPLICAS="3")
        assert again.returncode == 0, again.stderr
        # KEDA asks one server for a consumer's leader, and then the leader, whose name is that of its pod.
        answer = nodes[0].asked("/jsz?acc=$G&consumers=true&config=true")
        assert answer["meta_cluster"]["cluster_size"] == 3  # type: ignore[index]
        (account,) = [each for each in answer["account_details"] if each["name"] == "$G"]  # type: ignore[attr-defined]
        (jobs,) = [each for each in account["stream_detail"] if each["name"] == topology.JOBS]
        assert jobs["config"]["num_replicas"] == 3
        leaders = {each["cluster"]["leader"] for each in jobs["consumer_detail"]}
        assert leaders <= {"nats-0", "nats-1", "nats-2"}
        varz = nodes[0].asked("/varz")
        assert varz.get("connect_urls", []) == []
