"""A recorded CVAT server: no CVAT ran for it. What it answers is shaped by CVAT's OpenAPI schema, as cvat-sdk has it.

Every response, and every body that comes in, is read by the SDK's own model of that endpoint before it is used, so the
recording cannot drift from the schema of the SDK in use. What a real server does beyond its schema, such as reading
videos, checking permissions and counting quotas, is not recorded.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from PIL import Image

NOW = "2026-01-01T00:00:00Z"
TOKEN = "a-secret-access-token"  # noqa: S105


def checked(data: Any, model: str) -> Any:
    """The data, if the SDK's model of this name holds it, and nothing else in it."""
    from cvat_sdk import models
    from cvat_sdk.api_client import Configuration
    from cvat_sdk.api_client.model_utils import validate_and_convert_types

    read = validate_and_convert_types(
        data, (getattr(models, model),), ["recorded"], True, True, configuration=Configuration()
    )
    unknown = set(data) - set(type(read).attribute_map.values())
    assert not unknown, f"{model} has no {unknown}"
    return data


@dataclass
class RecordedCvat:
    """Projects, tasks and jobs in memory, behind CVAT's API."""

    token: str = TOKEN
    cloud: dict[str, bytes] = field(default_factory=dict)
    """Images of cloud storage 5 by key."""
    fault: Callable[[str, str], int | None] = lambda method, path: None
    """Status to answer with instead; 0: no answer."""
    url: str = ""
    projects: dict[int, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    labels: dict[int, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[int, dict[str, Any]] = field(default_factory=dict)
    frames: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    deleted: dict[int, list[int]] = field(default_factory=dict)
    drawn: dict[int, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    """What was against the schema, or is not recorded; raised when the block ends."""
    over: threading.Event = field(default_factory=threading.Event)
    _uploads: dict[int, dict[str, bytes]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _count: int = 0

    def number(self) -> int:
        self._count += 1
        return self._count

    def calls(self, method: str, pattern: str) -> int:
        return sum(verb == method and re.fullmatch(pattern, path) is not None for verb, path in self.requests)

    def finish(self, job: int, who: str = "", state: str = "completed", at: str = NOW) -> None:
        """A person says that a job is done."""
        made = self.jobs[job]
        made["state"], made["updated_date"] = state, at
        made["assignee"] = {"username": who, "id": 3, "url": f"{self.url}/api/users/3"} if who else None

    def answer(self, method: str, path: str, query: dict[str, str], headers: Any, body: bytes) -> tuple[int, Any]:
        """Status and JSON of the response to a request."""
        if headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {"detail": "Invalid token."}
        routes: list[tuple[str, str, Callable[..., tuple[int, Any]]]] = [
            ("GET", r"/api/projects", self._list_projects),
            ("POST", r"/api/projects", self._make_project),
            ("GET", r"/api/labels", self._list_labels),
            ("GET", r"/api/tasks", self._list_tasks),
            ("POST", r"/api/tasks", self._make_task),
            ("GET", r"/api/tasks/(\d+)", self._read_task),
            ("POST", r"/api/tasks/(\d+)/data/?", self._take_data),
            ("GET", r"/api/tasks/(\d+)/data/meta", self._read_meta),
            ("GET", r"/api/requests/(.+)", self._read_request),
            ("GET", r"/api/jobs", self._list_jobs),
            ("GET", r"/api/jobs/(\d+)/annotations/?", self._read_shapes),
            ("PUT", r"/api/jobs/(\d+)/annotations/?", self._put_shapes),
        ]
        for verb, pattern, route in routes:
            found = re.fullmatch(pattern, path)
            if verb == method and found:
                with self._lock:
                    return route(*found.groups(), query=query, headers=headers, body=body)
        return 404, {"detail": "Not found."}

    def _page(self, found: list[Any], query: dict[str, str], model: str) -> tuple[int, Any]:
        # Two to a page, so that clients have to ask for more.
        page = int(query.get("page", "1"))
        more = f"{self.url}/next?page={page + 1}" if len(found) > 2 * page else None
        top = {"count": len(found), "next": more, "previous": None, "results": found[2 * page - 2 : 2 * page]}
        return 200, checked(top, model)

    def _list_projects(self, query: dict[str, str], **_: Any) -> tuple[int, Any]:
        # By part of the name: whoever asks has to compare.
        found = [one for one in self.projects.values() if query.get("name", "") in one["name"]]
        return self._page(found, query, "PaginatedProjectReadList")

    def _make_project(self, body: bytes, **_: Any) -> tuple[int, Any]:
        asked, id_ = checked(json.loads(body), "ProjectWriteRequest"), self.number()
        for label in asked["labels"]:
            attributes = [{"id": self.number(), **one} for one in label["attributes"]]
            number = self.number()
            self.labels[number] = {**label, "id": number, "project_id": id_, "attributes": attributes}
        made = {
            "id": id_, "name": asked["name"], "url": f"{self.url}/api/projects/{id_}", "created_date": NOW,
            "labels": {"url": "u"}, "tasks": {"url": "u", "count": 0}, "status": "annotation",
        }  # fmt: skip
        self.projects[id_] = made
        return 201, checked(made, "ProjectRead")

    def _list_labels(self, query: dict[str, str], **_: Any) -> tuple[int, Any]:
        found = [one for one in self.labels.values() if one["project_id"] == int(query["project_id"])]
        return self._page(found, query, "PaginatedLabelList")

    def _list_tasks(self, query: dict[str, str], **_: Any) -> tuple[int, Any]:
        found = [one for one in self.tasks.values() if one["project_id"] == int(query["project_id"])]
        return self._page(found, query, "PaginatedTaskReadList")

    def _make_task(self, body: bytes, **_: Any) -> tuple[int, Any]:
        asked, id_ = checked(json.loads(body), "TaskWriteRequest"), self.number()
        self.tasks[id_] = {
            "id": id_, "name": asked["name"], "url": f"{self.url}/api/tasks/{id_}", "project_id": asked["project_id"],
            "segment_size": asked["segment_size"], "overlap": asked["overlap"], "size": 0, "status": "annotation",
            "jobs": {"completed": 0, "validation": 0, "count": 0, "url": "u"}, "labels": {"url": "u"},
            "created_date": NOW,
        }  # fmt: skip
        return 201, checked(self.tasks[id_], "TaskRead")

    def _read_task(self, task: str, **_: Any) -> tuple[int, Any]:
        if int(task) not in self.tasks:
            return 404, {"detail": "Not found."}
        return 200, checked(self.tasks[int(task)], "TaskRead")

    def _take_data(self, task: str, headers: Any, body: bytes, **_: Any) -> tuple[int, Any]:
        id_ = int(task)
        if "Upload-Start" in headers:
            self._uploads[id_] = {}
            return 202, {}
        if "Upload-Multiple" in headers:
            parts = message_from_bytes(b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body)
            for part in parts.get_payload():  # type: ignore[union-attr]
                name = part.get_filename()
                if name:
                    self._uploads[id_][PurePosixPath(name).name] = part.get_payload(decode=True)
            return 200, {}
        asked = json.loads(body)
        if asked.get("server_files"):
            checked(asked, "DataRequest")
            assert asked["cloud_storage_id"] == 5
            found = {name: self.cloud[name] for name in asked["server_files"]}
        else:
            checked({name: value for name, value in asked.items() if name != "client_files"}, "DataRequest")
            sent = self._uploads.pop(id_)
            assert sorted(sent) == sorted(asked["upload_file_order"])
            found = {name: sent[name] for name in asked["upload_file_order"]}
        assert asked["sorting_method"] == "predefined"
        self._fill(id_, found)
        return 202, checked({"rq_id": f"action=create&target=task&id={id_}"}, "RqId")

    def _fill(self, task: int, found: dict[str, bytes]) -> None:
        frames = []
        for name, data in found.items():
            width, height = Image.open(io.BytesIO(data)).size
            frames.append({"name": name, "width": width, "height": height, "related_files": 0})
        self.frames[task], made = frames, self.tasks[task]
        made["size"] = len(frames)
        for first in range(0, len(frames), made["segment_size"]):
            id_, last = self.number(), min(first + made["segment_size"], len(frames)) - 1
            self.jobs[id_] = {
                "id": id_, "url": f"{self.url}/api/jobs/{id_}", "task_id": task, "project_id": made["project_id"],
                "state": "new", "stage": "annotation", "type": "annotation", "assignee": None, "start_frame": first,
                "stop_frame": last, "frame_count": last - first + 1, "created_date": NOW, "updated_date": NOW,
                "issues": {"url": "u", "count": 0}, "labels": {"url": "u"},
            }  # fmt: skip

    def _read_request(self, id_: str, **_: Any) -> tuple[int, Any]:
        task = int(unquote(id_).rpartition("=")[2])
        operation = {"type": "create:task", "target": "task", "task_id": task}
        made = {"id": id_, "status": "finished", "operation": operation, "created_date": NOW, "message": ""}
        return 200, checked(made, "Request")

    def _read_meta(self, task: str, **_: Any) -> tuple[int, Any]:
        frames = self.frames.get(int(task), [])
        made = {
            "frames": frames, "deleted_frames": self.deleted.get(int(task), []), "size": len(frames), "start_frame": 0,
            "stop_frame": len(frames) - 1, "chunks_updated_date": NOW,
        }  # fmt: skip
        return 200, checked(made, "DataMetaRead")

    def _list_jobs(self, query: dict[str, str], **_: Any) -> tuple[int, Any]:
        found = [one for one in self.jobs.values() if one["task_id"] == int(query["task_id"])]
        return self._page(found, query, "PaginatedJobReadList")

    def _read_shapes(self, job: str, **_: Any) -> tuple[int, Any]:
        found = self.drawn.get(int(job), {"shapes": [], "tags": []})
        return 200, checked({"version": 1, "tracks": [], **found}, "LabeledData")

    def _put_shapes(self, job: str, body: bytes, **_: Any) -> tuple[int, Any]:
        asked = checked(json.loads(body), "LabeledDataRequest")
        kept = {kind: [{"id": self.number(), **one} for one in asked[kind]] for kind in ("shapes", "tags")}
        self.drawn[int(job)] = kept
        return 200, checked({"version": 1, "tracks": [], **kept}, "LabeledData")


@contextlib.contextmanager
def recorded(made: RecordedCvat) -> Iterator[RecordedCvat]:
    """Serve on loopback until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            made.requests.append((self.command, parts.path))
            status = made.fault(self.command, parts.path)
            if status == 0:
                made.over.wait(30)
                return
            if status is not None:
                data = {"detail": f"fault, and the request had {self.headers.get('Authorization')}"}
            else:
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                try:
                    status, data = made.answer(self.command, parts.path, query, self.headers, body)
                except Exception as error:
                    made.errors.append(error)
                    status, data = 500, {"detail": "the recording has no such answer"}
            text = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield made
    finally:
        made.over.set()
        server.shutdown()
        thread.join()
        # Waits for the threads of requests too.
        server.server_close()
    for error in made.errors:
        raise error
