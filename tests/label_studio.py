"""A real Label Studio from its wheel, in an environment of its own: it needs libraries that Tessera has newer."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.cookiejar
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "locks" / "label-studio.lock"
_INSTALL_SECONDS, _START_SECONDS = 1800.0, 900.0
USER, PASSWORD = "robot@example.com", "a-password-for-tests"


def environment() -> Path:
    """Return the Python of the environment that the lock file describes, made once per user and lock.

    One that was left half made is made anew. Skips the test where the wheels cannot be had.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tessera-tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder, digest = cache / "label-studio", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    made = f"{digest} {sys.version}"
    python, complete = folder / "bin" / "python", folder / "complete"
    with (cache / "label-studio.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.is_file() or complete.read_text() != made:
            # A link that leads nowhere is neither cleared nor followed by venv.
            folder.unlink() if folder.is_symlink() else shutil.rmtree(folder, ignore_errors=True)
            _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
            # Installs in a quarter of pip's time, and keeps what it has got for a next try.
            uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python)]
            _run([*uv, "--require-hashes", "-r", str(LOCK)])
            complete.write_text(made)
    return python


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"Label Studio is not installed after {_INSTALL_SECONDS:.0f} s; the next try goes on from there")
    if done.returncode:
        pytest.skip(f"Label Studio cannot be installed from {LOCK.name}: {' '.join(done.stderr.split())[-500:]}")


@dataclass
class Person:
    """Somebody who is signed in to Label Studio in a browser: its own API under its own session."""

    url: str
    token: str
    """Personal access token."""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        refresh = _send(self.url + "/api/token/refresh", {"refresh": self.token}, {})
        return _send(self.url + path, body, {"Authorization": f"Bearer {refresh['access']}"}, method)


def _send(url: str, body: Any, headers: dict[str, str], method: str = "POST") -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
    with urllib.request.urlopen(request, timeout=60) as response:
        text = response.read()
    return json.loads(text) if text else None


@contextlib.contextmanager
def server(folder: Path) -> Iterator[Person]:
    """Run Label Studio on loopback with a data base in ``folder`` until the block ends."""
    python = environment()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "COLLECT_ANALYTICS": "False",
        "LATEST_VERSION_CHECK": "False",
        # It calls no address of this machine otherwise.
        "SSRF_PROTECTION_ENABLED": "False",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
    }
    where = ["--port", str(port), "--internal-host", "127.0.0.1", "--no-browser", "--log-level", "WARNING"]
    who = ["--username", USER, "--password", PASSWORD]
    # It ends by itself where the tests are killed.
    command = ["timeout", "--kill-after=10", "3000", python.with_name("label-studio"), "start", *where, *who]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=settings, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            url = f"http://127.0.0.1:{port}"
            _until_up(url, process, folder / "log")
            yield Person(url, _sign_in(url))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            if response.status == 200:
                return
        time.sleep(0.5)
    raise AssertionError(f"Label Studio does not start: {log.read_text()[-3000:]}")


def _sign_in(url: str) -> str:
    """Sign in with the password and make a personal access token, as a person does in the browser."""
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    with browser.open(f"{url}/user/login", timeout=60) as page:
        found = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', page.read().decode())
    assert found is not None
    form = urllib.parse.urlencode({"csrfmiddlewaretoken": found[1], "email": USER, "password": PASSWORD}).encode()
    with browser.open(urllib.request.Request(f"{url}/user/login", form, {"Referer": url}), timeout=60):
        pass
    key = next(one.value or "" for one in jar if one.name == "csrftoken")
    headers = {"Content-Type": "application/json", "X-CSRFToken": key, "Referer": url}
    with browser.open(urllib.request.Request(f"{url}/api/token/", b"{}", headers), timeout=60) as response:
        return str(json.loads(response.read())["token"])
