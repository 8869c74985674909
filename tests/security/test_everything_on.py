"""A run with every protection on: TLS, users of NATS, keys and policy of the store, tokens and roles.

Each service is a process with its own credentials. It does its whole work, is refused nothing that it asks for, and no
secret of any of them is in what any of them writes (S13, S14, S15 and S19 together).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from certificates import make
from integration.loop import environment, tessera, until, write_recipe
from s3_policy import S3WithPolicy
from servers import free_port, running
from tessera.errors import BadInput
from tessera.runtime import permissions
from tessera.runtime.access import new_token
from tessera.runtime.bucket_policy import ADMIN, CLIENT, document, table
from tessera.runtime.objects import open_store
from tessera.runtime.settings import load
from users import NatsWithUsers, login, password

STORE, PRINCIPAL = "s3://tessera/runs", "arn:aws:iam:::user/tessera-{service}"
SERVICES = sorted(path.parent.name for path in (Path(__file__).parents[2] / "services").glob("*/__main__.py"))
MARKERS = {name: f"marker-{name}-0123456789" for name in ("record-key", "http-token")}


class Nats(NatsWithUsers):
    """With users, and TLS."""

    def __init__(self, folder: Path, certs: Path) -> None:
        super().__init__(folder)
        self._certs = certs

    def arguments(self) -> list[str]:
        found = super().arguments()
        with (self.folder / "nats.conf").open("a") as file:
            file.write(f'tls {{ cert_file: "{self._certs}/nats.crt", key_file: "{self._certs}/nats.key" }}\n')
        return found


@dataclass
class Deployment:
    """Nine processes, each with what is its own."""

    folder: Path
    certs: Path
    nats: Nats
    s3: S3WithPolicy
    port: int = field(default_factory=free_port)
    metrics: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)
    tokens: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def coordinator(self) -> str:
        return f"localhost:{self.port}"

    def shared(self, user: str) -> dict[str, str]:
        """Variables of any process that talks to the servers."""
        return {
            "TESSERA_STORE": STORE,
            "TESSERA_CACHE_DIR": str(self.folder / f"cache-{user}"),
            "TESSERA_SCRATCH_DIR": str(self.folder),
            "TESSERA_GRPC_CA": str(self.certs / "ca.crt"),
            **self.s3.settings(user),
        }

    def nats_login(self, user: str) -> dict[str, str]:
        found = {f"TESSERA_{name.upper()}": str(value) for name, value in login(user).items()}
        url = self.nats.url.replace("nats://", "tls://")
        return {"TESSERA_NATS_URL": url, "TESSERA_NATS_CA": str(self.certs / "ca.crt"), **found}

    def caller(self, name: str) -> dict[str, str]:
        """Variables of a command of this person."""
        return {**self.shared(CLIENT), "TESSERA_TOKEN": self.tokens[name], "TESSERA_COORDINATOR": self.coordinator}

    def start(self, service: str) -> None:
        own: dict[str, str] = {}
        if service == "coordinator":
            own = {
                "TESSERA_GRPC_HOST": "0.0.0.0",  # noqa: S104
                "TESSERA_GRPC_PORT": str(self.port),
                "TESSERA_GRPC_CERT": str(self.certs / "coordinator.crt"),
                "TESSERA_GRPC_KEY": str(self.certs / "coordinator.key"),
                "TESSERA_ACCESS": str(self.folder / "access"),
                "TESSERA_METRICS_PORT": str(self.metrics),
            }
        if service == "dashboard":
            own = {
                "TESSERA_COORDINATOR": self.coordinator,
                "TESSERA_TOKEN": self.tokens["dashboard"],
                "TESSERA_HTTP_TOKEN": MARKERS["http-token"],
                "TESSERA_HTTP_PORT": str(self.http),
            }
        given = {
            **self.shared(service),
            **self.nats_login(service),
            "TESSERA_RECORD_KEY": MARKERS["record-key"],
            "TESSERA_CHILDREN": "1",
            "TESSERA_LOG_LEVEL": "debug",
            "TESSERA_FETCH_EXPIRES": "1",
            "TESSERA_SWEEP_SECONDS": "2",
            "TESSERA_READY_FILE": str(self.folder / f"{service}.ready"),
            **own,
        }
        with (self.folder / f"{service}.log").open("ab") as log:
            self.processes[service] = subprocess.Popen(
                [sys.executable, "-m", f"services.{service}"],
                env=environment(**given),
                stdout=log,
                stderr=log,
                cwd=Path(__file__).parents[2],
            )

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)
            process.kill()
            process.wait(timeout=10)

    def logs(self) -> dict[str, str]:
        return {service: (self.folder / f"{service}.log").read_text() for service in self.processes}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    tmp_path = tmp_path_factory.mktemp("on")
    certs = make(tmp_path / "tls", "nats", "coordinator")
    made = {name: new_token(name, [role]) for name, role in (
        ("alice", "operator"), ("bob", "viewer"), ("dashboard", "operator")
    )}  # fmt: skip
    (tmp_path / "access").write_text("".join(f"{line}\n" for _, line in made.values()))
    s3 = S3WithPolicy(tmp_path / "s3", list(table()), document(STORE, PRINCIPAL), PRINCIPAL)
    with running(Nats(tmp_path / "nats", certs)) as nats, s3:
        assert isinstance(nats, Nats)
        deployed = Deployment(tmp_path, certs, nats, s3, tokens={name: token for name, (token, _) in made.items()})
        try:
            done = tessera("topology", **deployed.nats_login(permissions.ADMIN))
            assert done.returncode == 0, done.stderr
            for service in SERVICES:
                deployed.start(service)
            yield deployed
        finally:
            deployed.stop()


def command(said: list[str], *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command, and keep what it says."""
    done = tessera(*arguments, timeout=600, **env)
    said.append(done.stdout + done.stderr)
    return done


@dataclass
class Finished:
    """The deployment after a whole run, and what commands said."""

    deployment: Deployment
    run: str
    said: list[str]


@pytest.fixture(scope="module")
def finished(deployment: Deployment) -> Finished:
    """One run for all tests here: it takes minutes on a busy machine."""
    for service in SERVICES:
        until(lambda name=service: _is_ready(deployment, name), 240, f"{service} ready")
    folder, alice, said = deployment.folder, deployment.caller("alice"), []
    submitted = command(said, "submit", write_recipe(folder / "recipe"), **alice)
    assert submitted.returncode == 0, submitted.stderr
    run = submitted.stdout.strip()
    watched = command(said, "watch", run, "--out", folder / "out", **alice)
    assert watched.returncode == 0, watched.stderr + str(deployment.logs())[-5000:]
    assert len(json.loads((folder / "out" / "summary.json").read_text())["rounds"]) == 3
    return Finished(deployment, run, said)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_every_service_works_with_its_own_credentials_and_no_secret_is_told(finished: Finished) -> None:
    deployment, run, said = finished.deployment, finished.run, finished.said
    # A viewer sees the run and cannot steer it; a stranger sees nothing.
    bob = deployment.caller("bob")
    assert run in command(said, "status", **bob).stdout
    refused = command(said, "cancel", run, **bob)
    assert refused.returncode == 2
    assert "needs the role operator; bob has viewer" in refused.stderr
    stranger = command(said, "status", **{**bob, "TESSERA_TOKEN": "a-token-that-nobody-made"})
    assert stranger.returncode == 2
    assert "the token is not known" in stranger.stderr
    said += [_fetched(deployment.metrics, "/metrics"), _fetched(deployment.http, "/")]

    # Nothing that a service asked for was refused.
    denied = [each for each in deployment.s3.denied if each[0]]
    assert denied == []
    for service, log in deployment.logs().items():
        assert "permissions violation" not in log.lower(), f"{service}: {log[-3000:]}"
        assert "Traceback" not in log, f"{service}: {log[-3000:]}"
    _assert_no_secret(deployment, said)


def _is_ready(deployment: Deployment, service: str) -> bool:
    process = deployment.processes[service]
    assert process.poll() is None, (deployment.folder / f"{service}.log").read_text()[-3000:]
    return (deployment.folder / f"{service}.ready").exists()


def _fetched(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return f"{answer.headers}{answer.read().decode()}"
    finally:
        connection.close()


def _assert_no_secret(deployment: Deployment, said: list[str]) -> None:
    secrets = [*MARKERS.values(), *deployment.tokens.values(), "a-token-that-nobody-made", "PRIVATE KEY"]
    secrets += [password(service) for service in (*SERVICES, permissions.ADMIN)]
    secrets += [part for user in (*SERVICES, CLIENT) for part in S3WithPolicy.pair(user)]
    texts = {**deployment.logs(), "what commands and pages say": "\n".join(said)}
    found = sorted({(where, secret) for where, text in texts.items() for secret in secrets if secret in text})
    assert found == []
    lines = sum(text.count("\n") for text in texts.values())
    assert all(texts.values()), "a process wrote nothing, so that nothing was searched"
    print(f"S19: {len(secrets)} secrets, {lines} lines of {len(texts)} sources, 0 found")


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_what_a_taken_over_service_finds_in_the_store_of_a_real_run(finished: Finished) -> None:
    """Over the real objects of a run: no key but the evaluator's opens test labels, and they lie nowhere else."""
    deployment = finished.deployment

    def store(user: str) -> Any:
        given = {name.removeprefix("TESSERA_").lower(): one for name, one in deployment.s3.settings(user).items()}
        return open_store(STORE, load(**given, cache_dir=deployment.folder / f"look-{user}", s3_attempts=1))

    admin = store(ADMIN)
    keys = await admin.list("")
    truth = [key for key in keys if "/labels/test" in key]
    assert len(truth) >= 2
    secret = {(await admin.exists(key)).sha256 for key in truth}
    others = [key for key in keys if key not in truth]
    assert not [key for key in others if (await admin.exists(key)).sha256 in secret]
    tried = 0
    for service in (one for one in SERVICES if one != "evaluator"):
        taken = store(service)
        for key in truth:
            with pytest.raises(BadInput, match="refused the credentials"):
                await taken.read_key(key, 1 << 20)
            tried += 1
    assert [await store("evaluator").read_key(key, 1 << 20) for key in truth]
    print(f"S15: {len(keys)} objects of a run, {len(truth)} of them test labels; {tried} reads with other keys refused")
