"""Policies of S3 buckets in tests: an evaluator of their language, and a door before rclone's server that obeys it.

rclone's server knows keys and no policies. The door reads which key signed a request, decides as S3 does (denied by any
statement that says so, else allowed by any), and passes on what is allowed, unchanged, so that the signature fits.
"""

from __future__ import annotations

import http.client
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from servers import S3Process

_KEY = re.compile(r"Credential=([^/]+)/")
_DENIED = b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>AccessDenied</Code><Message>denied</Message></Error>"


def _fits(patterns: str | list[str], value: str) -> bool:
    """Whether one of the patterns, in which ``*`` and ``?`` stand for any characters, is the whole value."""
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        spelt = "".join({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in pattern)
        if re.fullmatch(spelt, value, re.DOTALL):
            return True
    return False


def allowed(policy: dict[str, Any], principal: str, action: str, resource: str) -> bool:
    """What a server decides: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html."""
    assert set(policy) == {"Version", "Statement"}
    decisions = set()
    for statement in policy["Statement"]:
        # A part that this evaluator does not know must not be passed over.
        assert set(statement) == {"Sid", "Effect", "Principal", "Action", "Resource"}, statement
        if (
            _fits(statement["Principal"]["AWS"], principal)
            and _fits(statement["Action"], action)
            and _fits(statement["Resource"], resource)
        ):
            decisions.add(statement["Effect"])
    return decisions == {"Allow"}


def action_of(method: str, path: str, bucket: str) -> tuple[str, str]:
    """The action that a request is, and its resource."""
    parts = urlsplit(path)
    name, _, key = unquote(parts.path).lstrip("/").partition("/")
    if name != bucket or not key:
        return ("s3:ListBucket" if method == "GET" and name == bucket else "s3:Unknown"), f"arn:aws:s3:::{name}"
    actions = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject", "DELETE": "s3:DeleteObject"}
    if method == "DELETE" and "uploadId=" in parts.query:
        return "s3:AbortMultipartUpload", f"arn:aws:s3:::{name}/{key}"
    found = "s3:PutObject" if method == "POST" and "upload" in parts.query else actions.get(method, "s3:Unknown")
    return found, f"arn:aws:s3:::{name}/{key}"


class S3WithPolicy:
    """``endpoint`` obeys ``policy``; the key of each service is ``key-SERVICE``, its secret ``secret-of-SERVICE``."""

    def __init__(self, folder: Path, users: list[str], policy: dict[str, Any], principal: str) -> None:
        pairs = [f"{key},{secret}" for key, secret in map(self.pair, users)]

        class Keyed(S3Process):
            def arguments(self) -> list[str]:
                found = super().arguments()
                place = found.index("--auth-key")
                keys = [part for pair in pairs for part in ("--auth-key", pair)]
                return [*found[:place], *keys, *found[place + 2 :]]

        self.server = Keyed(folder)
        door = self

        class Door(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            server_side: ClassVar[S3Process] = self.server

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                found = _KEY.search(self.headers.get("Authorization") or "")
                action, resource = action_of(self.command, self.path, S3Process.bucket)
                who = principal.format(service=found[1].removeprefix("key-")) if found else ""
                if not allowed(policy, who, action, resource):
                    door.denied.append((who, action, resource))
                    self._answer(403, [("Content-Type", "application/xml")], _DENIED)
                    return
                connection = http.client.HTTPConnection("127.0.0.1", self.server_side.port, timeout=60)
                try:
                    connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        connection.putheader(name, value)
                    connection.endheaders(body)
                    answer = connection.getresponse()
                    headers = [
                        (name, value)
                        for name, value in answer.getheaders()
                        if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server")
                    ]
                    length = answer.getheader("Content-Length") if self.command == "HEAD" else None
                    self._answer(answer.status, headers, answer.read(), length)
                finally:
                    connection.close()

            def _answer(
                self, status: int, headers: list[tuple[str, str]], body: bytes, length: str | None = None
            ) -> None:
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", length or str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass

            def log_message(self, *_: Any) -> None: ...

        class Threads(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self.denied: list[tuple[str, str, str]] = []
        self._http = Threads(("127.0.0.1", 0), Door)
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    @staticmethod
    def pair(user: str) -> tuple[str, str]:
        return f"key-{user}", f"secret-of-{user}"

    def settings(self, user: str) -> dict[str, str]:
        """Variables of a process that is this user."""
        key, secret = self.pair(user)
        return {
            "TESSERA_S3_ENDPOINT": f"127.0.0.1:{self._http.server_address[1]}",
            "TESSERA_S3_ACCESS_KEY": key,
            "TESSERA_S3_SECRET_KEY": secret,
            "TESSERA_S3_SECURE": "false",
        }

    def __enter__(self) -> S3WithPolicy:
        self.server.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)
        self.server.stop()
