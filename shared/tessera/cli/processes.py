"""Supervise processes: they end with this one and are restarted with growing pauses, except in a crash loop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tessera.errors import BadInput, TesseraError, Unavailable

CRASH_LOOP = 5
CRASH_WINDOW_SECONDS = 60.0
LAUNCHER = Path(__file__).with_name("launch.py")
MARK = "TESSERA_STACK"


class CrashLoop(Unavailable):
    """A process of the local stack died again and again; the message carries its last log lines."""

    transient = False


@dataclass
class Spec:
    """One process to keep running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Running:
    spec: Spec
    log: Path
    process: subprocess.Popen[bytes] | None = None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=CRASH_LOOP))
    not_before: float = 0.0
    restarts: int = 0


def tail(path: Path, lines: int = 12) -> str:
    """Return the last lines of a log file, or an empty string."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16384))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except OSError:
        return ""


def last_error(path: Path) -> str:
    """Return the last error in a service's log of JSON lines, or an empty string."""
    for line in reversed(tail(path).splitlines()):
        with contextlib.suppress(ValueError):
            fields = json.loads(line)
            if isinstance(fields, dict) and fields.get("level") == "error":
                return str(fields.get("error") or fields.get("event") or "")
    return ""


class Supervisor:
    """Keeps processes running from one thread; every process gets ``folder/logs/NAME.log`` and a line in pids.json.

    The starting thread must outlive its processes, because the parent-death signal follows the thread: so one thread
    starts, watches and stops all of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self._pids = folder / "pids.json"
        self._entries: list[_Running] = []
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: TesseraError | None = None

    def add(self, spec: Spec) -> None:
        """Start ``spec`` soon and keep it running."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with self._lock:
            self._entries.append(_Running(spec, self.logs / f"{spec.name}.log"))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
                self._thread.start()
        self._wake.set()

    def check(self) -> None:
        """Raise CrashLoop when a process could not be kept running, BadInput when a restart cannot help."""
        if self.failure is not None:
            raise self.failure

    def pid(self, name: str) -> int | None:
        """Return the process id of a running member."""
        with self._lock:
            for entry in self._entries:
                if entry.spec.name == name and entry.process is not None and entry.process.poll() is None:
                    return entry.process.pid
        return None

    def stop(self, grace_seconds: float = 6.0) -> None:
        """End every process: SIGTERM in reverse order of starting, SIGKILL after the grace; bounded by grace + 2 s."""
        self._stop.set()
        self._wake.set()
        with self._lock:
            entries = list(reversed(self._entries))
        deadline = time.monotonic() + grace_seconds
        # The first member (the broker) goes last: the others drain through it.
        for group in (entries[:-1], entries[-1:]):
            for entry in group:
                _signal(entry.process, signal.SIGTERM)
            for entry in group:
                _wait(entry.process, deadline - time.monotonic())
            for entry in group:
                _kill_tree(entry.process)
            deadline = max(deadline, time.monotonic() + 1.0)
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        with contextlib.suppress(OSError):
            self._pids.unlink()

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                changed = [self._tend(entry) for entry in self._entries]
                if any(changed):
                    self._record()
            self._wake.wait(0.2)
            self._wake.clear()
        # For its processes the end of this thread is their parent's death: they end in order first.
        self._stopped.wait()

    def _tend(self, entry: _Running) -> bool:
        """Start or restart a member when it is time to; True when something changed."""
        if self._stop.is_set() or self.failure is not None:
            return False
        now = time.monotonic()
        if entry.process is not None:
            code = entry.process.poll()
            if code is None:
                return False
            _close(entry.process)
            entry.process = None
            entry.deaths.append(now)
            entry.restarts += 1
            entry.not_before = now + min(0.2 * 2 ** (len(entry.deaths) - 1), 5.0)
            recent = [death for death in entry.deaths if now - death <= CRASH_WINDOW_SECONDS]
            said = last_error(entry.log)
            if code == BadInput.exit_code and said:
                self.failure = BadInput(f"local stack: {entry.spec.name}: {said}")
            elif len(recent) >= CRASH_LOOP:
                self.failure = CrashLoop(
                    f"local stack: {entry.spec.name} died {CRASH_LOOP} times within {CRASH_WINDOW_SECONDS:.0f} s "
                    f"(last exit code {code}); its log {entry.log} ends:\n{said or tail(entry.log)}"
                )
            elif len(recent) < len(entry.deaths):
                entry.not_before = now + 0.2
            return True
        if now < entry.not_before:
            return False
        entry.process = self._start(entry)
        return True

    def _start(self, entry: _Running) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *entry.spec.command]
        environment = {**os.environ, **entry.spec.environment, MARK: str(self.folder.resolve())}
        with entry.log.open("ab") as log:
            # stdin is the lifeline: its write end closes when this process ends, however that happens.
            return subprocess.Popen(  # noqa: S603 - an argument list, no shell
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def _record(self) -> None:
        rows = []
        for entry in self._entries:
            if entry.process is not None:
                with contextlib.suppress(psutil.Error):
                    created = psutil.Process(entry.process.pid).create_time()
                    rows.append({"name": entry.spec.name, "pid": entry.process.pid, "created": created})
        write_atomically(self._pids, json.dumps(rows, indent=1).encode())


def end_leftovers(folder: Path) -> list[str]:
    """End processes of an earlier stack in ``folder`` that outlived it; returns their names.

    A process is ours only when pid and start time match the record and its environment names this very folder.
    """
    ended: list[str] = []
    try:
        rows = json.loads((folder / "pids.json").read_bytes())
    except (OSError, ValueError):
        return ended
    mine = str(folder.resolve())
    for row in rows if isinstance(rows, list) else []:
        try:
            process = psutil.Process(int(row["pid"]))
            if abs(process.create_time() - float(row["created"])) > 0.01 or process.environ().get(MARK) != mine:
                continue
            family = [*process.children(recursive=True), process]
            for member in family:
                with contextlib.suppress(psutil.Error):
                    member.kill()
            psutil.wait_procs(family, timeout=3.0)
            ended.append(str(row["name"]))
        except (psutil.Error, KeyError, TypeError, ValueError):
            continue
    return ended


def patience_seconds() -> float:
    """Return the seconds to wait for a server that went away: ``TESSERA_PATIENCE_SECONDS`` (60), BadInput if no
    number."""
    given = os.environ.get("TESSERA_PATIENCE_SECONDS") or "60"
    with contextlib.suppress(ValueError):
        if 0 < float(given) < float("inf"):
            return float(given)
    raise BadInput(f"TESSERA_PATIENCE_SECONDS={given!a}: give a number of seconds above 0")


def write_atomically(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write ``data`` so that a reader sees the old file or the new one, never a part; ``private``: for its owner only.

    Unavailable where it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        scratch.unlink(missing_ok=True)
        # Private from its first byte on, not only after the rename.
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        scratch.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise Unavailable(f"{path}: cannot write ({error.strerror}); free space or choose another --out") from None


def _signal(process: subprocess.Popen[bytes] | None, number: int) -> None:
    if process is not None and process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)


def _wait(process: subprocess.Popen[bytes] | None, seconds: float) -> None:
    if process is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(seconds, 0.05))


def _kill_tree(process: subprocess.Popen[bytes] | None) -> None:
    """Send SIGKILL to a member and its children (compute processes) that still run."""
    if process is None:
        return
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        family = psutil.Process(process.pid).children(recursive=True)
    if process.poll() is None:
        process.kill()
    for member in family:
        with contextlib.suppress(psutil.Error):
            member.kill()
    _wait(process, 1.0)
    _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    """Close the lifeline's write end."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
