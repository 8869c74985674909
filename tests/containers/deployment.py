"""A deployment of every service with NATS and S3, as containers or as processes; tests cannot tell which."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from containers import old as earlier
from containers.engine import NATS_IMAGES, S3_IMAGES, image, old_image, server_image
from integration.loop import environment
from servers import ACCESS_KEY, SECRET_KEY, NatsProcess, S3Process, ServerProcess, free_port, mortal

ROOT = Path(__file__).parents[2]
BUCKET = "tessera"
# A silent worker's job is taken over within seconds.
SETTINGS = {
    "TESSERA_CORES": "1",
    # The services give way to each other alone, not to whatever else a busy machine does.
    "TESSERA_CHILD_NICE": "0",
    "TESSERA_ACK_WAIT": "6",
    "TESSERA_HEARTBEAT": "2",
    "TESSERA_FETCH_EXPIRES": "1",
    "TESSERA_DRAIN_SECONDS": "5",
    "TESSERA_LOOK_SECONDS": "5",
    "TESSERA_SWEEP_SECONDS": "5",
    "TESSERA_S3_ACCESS_KEY": ACCESS_KEY,
    "TESSERA_S3_SECRET_KEY": SECRET_KEY,
    "TESSERA_S3_SECURE": "false",
    "TESSERA_STORE": f"s3://{BUCKET}/runs",
    # A container's port is open to its network.
    "TESSERA_INSECURE": "true",
}
BRIDGE = ("-m", "tessera.runtime.bridge", "selector")
"""As an image without the command line runs it; the address follows."""
STARTED_SECONDS = 300.0
LEFT_SECONDS = 120
ENGINE = {"timeout": 300}
"""Of docker-py: a busy machine takes long to make a container."""


class Member(Protocol):
    """One running server or service."""

    address: str
    """``host:port`` on the loopback of the machine that tests."""

    def kill(self) -> None:
        """End it as a lost node does."""

    def terminate(self) -> int:
        """Ask it to leave, and return its exit status."""

    def restart(self) -> None:
        """Kill it and start it again at the same address, with the data that it had."""

    def pause(self) -> None:
        """Stop it from answering, with its connections open."""

    def unpause(self) -> None:
        """Let it go on."""

    def log(self) -> str:
        """Return its log."""


class Deployment(Protocol):
    """NATS, S3 and services."""

    nats: Member
    s3: Member

    def start(self, service: str, *, old: bool = False, **settings: str) -> Member:
        """Start one more process of a service; it may not answer yet. ``old``: of an earlier version; skips the test
        where there is none.
        """

    def start_example(self, built: Path, settings: Mapping[str, str]) -> Member:
        """Start the example's selector, which was built in this folder, and the bridge to it, which it returns."""

    def close(self) -> None:
        """End everything."""


class Process:
    """A service as a local process; ``source`` is the checkout that it runs from, ``program`` another than its own."""

    def __init__(
        self, service: str, settings: Mapping[str, str], folder: Path, source: Path = ROOT, program: Sequence[str] = ()
    ) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self._log = folder / f"{service}-{port}.log"
        named = {"TESSERA_GRPC_PORT": str(port), "TESSERA_CACHE_DIR": str(folder / f"{service}-{port}.cache")}
        named |= {"ADDRESS": self.address, "PYTHONPATH": os.pathsep.join(map(str, (source / "shared", source)))}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                mortal(sys.executable, *(program or ("-m", f"services.{service}"))),
                cwd=source,
                env=environment(**{**SETTINGS, **settings, **named}),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait(60)

    def terminate(self) -> int:
        self._process.terminate()
        return self._process.wait(LEFT_SECONDS)

    def restart(self) -> None:
        raise NotImplementedError("start another")

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def unpause(self) -> None:
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        return self._log.read_text()

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)


class LocalServer:
    """A server from its wheel."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server.start()
        self.address = f"127.0.0.1:{server.port}"

    def kill(self) -> None:
        self._server.kill()

    def terminate(self) -> int:
        self._server.stop()
        return 0

    def restart(self) -> None:
        self._server.restart()

    def pause(self) -> None:
        os.kill(self._server.pid, signal.SIGSTOP)

    def unpause(self) -> None:
        os.kill(self._server.pid, signal.SIGCONT)

    def log(self) -> str:
        return self._server.log.read_text()


class Processes:
    """Everything as local processes below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._members: list[Process] = []
        self.nats: Member = LocalServer(NatsProcess(folder / "nats", sync_always=True))
        self.s3: Member = LocalServer(S3Process(folder / "s3"))
        self._settings = {
            "TESSERA_NATS_URL": f"nats://{self.nats.address}",
            "TESSERA_S3_ENDPOINT": self.s3.address,
        }

    def start(self, service: str, *, old: bool = False, **settings: str) -> Member:
        return self._add(service, settings, earlier.source(self._folder) if old else ROOT)

    def start_example(self, built: Path, settings: Mapping[str, str]) -> Member:
        example = self._add("selector", settings, built, ("selector.py",))
        return self._add("selector", settings, ROOT, (*BRIDGE, example.address))

    def _add(self, service: str, settings: Mapping[str, str], source: Path, program: Sequence[str] = ()) -> Member:
        self._members.append(Process(service, {**self._settings, **settings}, self._folder, source, program))
        return self._members[-1]

    def close(self) -> None:
        with contextlib.ExitStack() as stack:
            for each in (self.s3, self.nats, *self._members):
                stack.callback(each.kill)


class Container:
    """A container with one port that is reached on a fixed port of the loopback."""

    def __init__(self, name: str, port: int, network: Any, **options: Any) -> None:
        from testcontainers.core.container import DockerContainer

        outside = free_port()
        self.address = f"127.0.0.1:{outside}"
        settings, command = options.pop("environment", {}), options.pop("command", None)
        alias, volumes = options.pop("alias", None), options.pop("volumes", ())
        self._made = made = DockerContainer(name, docker_client_kw=ENGINE, **options)
        # On loopback alone; with_bind_ports would open it to the network.
        made.ports[f"{port}/tcp"] = ("127.0.0.1", outside)
        made.with_network(network)
        if alias:
            made.with_network_aliases(alias)
        for each in volumes:
            made.with_volume_mapping(*each)
        for key, value in settings.items():
            made.with_env(key, value)
        if command:
            made.with_command(command)

    def start(self) -> None:
        """Make it and start it."""
        self._made.start()

    @property
    def container(self) -> Any:
        """docker-py's own object."""
        return self._made.get_wrapped_container()

    def kill(self) -> None:
        self.container.reload()
        # A paused one goes on after the signal, not before.
        if self.container.status in ("running", "paused"):
            self.container.kill()

    def terminate(self) -> int:
        self.container.stop(timeout=LEFT_SECONDS)
        return int(self.container.wait(timeout=60)["StatusCode"])

    def restart(self) -> None:
        self.kill()
        self.container.start()

    def pause(self) -> None:
        self.container.pause()

    def unpause(self) -> None:
        self.container.unpause()

    def log(self) -> str:
        return str(self.container.logs().decode(errors="replace"))

    def remove(self) -> None:
        """End it, and its volumes."""
        self._made.stop(force=True, delete_volume=True)


class Containers:
    """Everything as containers in one network: our images as they are run in production, root read-only, no rights."""

    def __init__(self, folder: Path) -> None:
        from testcontainers.core.network import Network

        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._network = Network(docker_client_kw=ENGINE).create()
        self._members: list[Container] = []
        configuration = folder / "nats.conf"
        configuration.write_text('listen: "0.0.0.0:4222"\njetstream { store_dir: "/data", sync_interval: always }\n')
        try:
            self.nats: Member = self._add(
                server_image(NATS_IMAGES),
                4222,
                alias="nats",
                command=["-c", "/nats.conf"],
                volumes=[(str(configuration), "/nats.conf", "ro")],
            )
            self.s3: Member = self._add(
                server_image(S3_IMAGES),
                8080,
                alias="s3",
                command=["serve", "s3", "/data", "--addr=:8080", f"--auth-key={ACCESS_KEY},{SECRET_KEY}"],
            )
            _until_listening(self.s3.address)
            _make_bucket(self.s3.address)
        except BaseException:
            self.close()
            raise

    def start(self, service: str, *, old: bool = False, **settings: str) -> Member:
        if not old:
            return self._serve(image(service), settings)
        if name := old_image(service):
            return self._serve(name, settings)
        # No image of it was made here: its code on the libraries of today's, which have the versions of its locks.
        volumes = [(str(earlier.source(self._folder)), "/old", "ro")]
        return self._serve(image(service), {**settings, "PYTHONPATH": "/old/shared:/old"}, volumes=volumes)

    def start_example(self, built: Path, settings: Mapping[str, str]) -> Member:
        # Our image has the libraries that the example needs; of Tessera it uses nothing.
        command = ["python", "/example/selector.py"]
        given = {**settings, "ADDRESS": "0.0.0.0:50051", "PYTHONPATH": "/example"}
        volumes = [(str(built), "/example", "ro")]
        self._serve(image("selector"), given, command=command, volumes=volumes, alias="example")
        return self._serve(image("selector"), settings, command=["python", *BRIDGE, "example:50051"])

    def _serve(self, name: str, settings: Mapping[str, str], **options: Any) -> Member:
        addresses = {"TESSERA_NATS_URL": "nats://nats:4222", "TESSERA_S3_ENDPOINT": "s3:8080"}
        return self._add(
            name,
            50051,
            environment={**SETTINGS, **addresses, **settings},
            read_only=True,
            # The test asks for itself, by gRPC: a new Python in each of ten containers every few seconds is a load.
            healthcheck={"test": ["NONE"]},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            **options,
        )

    def close(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self._network.remove)
            for each in self._members:
                stack.callback(each.remove)

    def _add(self, name: str, port: int, **options: Any) -> Container:
        # Counted first: one that was made and did not start is removed, too.
        self._members.append(Container(name, port, self._network, **options))
        self._members[-1].start()
        return self._members[-1]


def _until_listening(address: str) -> None:
    import http.client

    deadline = time.monotonic() + STARTED_SECONDS
    while True:
        connection = http.client.HTTPConnection(address, timeout=2)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
            return
        except (OSError, http.client.HTTPException):
            assert time.monotonic() < deadline, f"{address} does not answer"
            time.sleep(0.1)
        finally:
            connection.close()


def _make_bucket(address: str) -> None:
    from minio import Minio

    client = Minio(endpoint=address, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False, region="us-east-1")
    if BUCKET not in {each.name for each in client.list_buckets()}:
        client.make_bucket(bucket_name=BUCKET)
