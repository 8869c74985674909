"""Label Studio's HTTP API, as far as the adapter needs it. Checked with Label Studio 1.23."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from tessera.errors import BadInput, Forbidden, Unauthenticated, Unavailable
from tessera.runtime import calls

_TIMEOUT_SECONDS: Final = 30.0
_PAUSES: Final = (0.5, 2.0, 5.0)
_AT_THE_END: Final = (0.2, 1.0)
"""Pauses before a webhook is left where it is: an SQLite that is locked answers 500 for a moment."""
_PAGE: Final = 200
_TOGETHER: Final = 50
"""Tasks per request of import and export: a task with masks may have megabytes."""
_ANSWER_BYTES: Final = 256 << 20
_AGAIN: Final = (408, 425, 429, 500, 502, 503, 504)
_CHANGES: Final = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED")
"""What Label Studio calls about: skips are created, too."""
_MARK: Final = "X-Tessera-Sync"
"""Header of the webhooks that are ours."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{8,2048}")


class LabelStudioApi:
    """One Label Studio server, in the name of one of its users.

    Errors: Unauthenticated and Forbidden for a token that is not accepted, BadInput for what is not there (any more) or
    not understood, Unavailable where a later try may succeed. No error says the token.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.username or parts.query:
            raise BadInput("--url: write the address of Label Studio, http://HOST:PORT, without a password")
        if not _TOKEN.fullmatch(token):
            raise BadInput("the token of Label Studio: is none; copy it from Account & Settings, Personal Access Token")
        self._url, self._token = url.rstrip("/"), token
        # A personal access token is a JWT that is changed into an access token; a legacy token is sent as it is.
        self._refreshes = token.count(".") == 2
        self._header = "" if self._refreshes else f"Token {token}"

    async def projects(self) -> dict[str, int]:
        """Return the projects that this user sees: description → id."""
        made, page = dict[str, int](), f"/api/projects?{urlencode({'page_size': _PAGE})}"
        while page:
            found = await self._json("GET", page)
            made |= {str(one.get("description") or ""): int(one["id"]) for one in found["results"]}
            following = urlsplit(str(found.get("next") or ""))
            page = f"{following.path}?{following.query}" if following.path else ""
        return made

    async def make_project(self, title: str, description: str, config: str, annotations: int) -> int:
        """Make a project with a labelling configuration, in which each task gets so many annotations."""
        fields = {"title": title[:50], "description": description, "label_config": config}
        options = {"maximum_annotations": annotations, "show_collab_predictions": True, "show_skip_button": True}
        return int((await self._json("POST", "/api/projects", {**fields, **options}))["id"])

    async def show_predictions(self, project: int, version: str) -> None:
        """Show the predictions of one version to annotators."""
        await self._json("PATCH", f"/api/projects/{project}", {"model_version": version})

    async def tasks(self, project: int) -> list[dict[str, Any]]:
        """Return the project's tasks without annotations: id, data, counts and the time of the last change."""
        made, page, total = list[dict[str, Any]](), 1, 1
        while len(made) < total:
            asked = urlencode({"project": project, "page": page, "page_size": _PAGE, "fields": "task_only"})
            found = await self._json("GET", f"/api/tasks?{asked}")
            if not found["tasks"]:
                break
            made += found["tasks"]
            page, total = page + 1, int(found["total"])
        return made

    async def add_tasks(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Add tasks with their predictions."""
        for first in range(0, len(tasks), _TOGETHER):
            await self._json("POST", f"/api/projects/{project}/import", list(tasks[first : first + _TOGETHER]))

    async def add_prediction(self, task: int, prediction: Mapping[str, Any]) -> None:
        """Add a prediction to a task."""
        await self._json("POST", "/api/predictions/", {"task": task, **prediction})

    async def annotated(self, project: int, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Return tasks with their annotations, cancelled ones included, as in an export file."""
        made = list[dict[str, Any]]()
        for first in range(0, len(ids), _TOGETHER):
            chosen = [("ids[]", one) for one in ids[first : first + _TOGETHER]]
            asked = urlencode([("exportType", "JSON"), ("download_all_tasks", "true"), *chosen])
            made += await self._json("GET", f"/api/projects/{project}/export?{asked}")
        return made

    async def remove_task(self, task: int) -> None:
        """Remove a task; nothing happens where it is gone."""
        with contextlib.suppress(BadInput):
            await self._json("DELETE", f"/api/tasks/{task}")

    async def uploads(self, project: int) -> dict[str, str]:
        """Return the images that were uploaded to a project: the name that was given → their path on the server."""
        found = await self._json("GET", f"/api/projects/{project}/file-uploads?all=true")
        # Label Studio puts eight digits and a dash before the name.
        return {str(one["file"]).rpartition("/")[2].partition("-")[2]: f"/data/{one['file']}" for one in found}

    async def upload(self, project: int, name: str, data: bytes, media_type: str) -> str:
        """Upload an image, without making a task of it; returns its path on the server."""
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
        body = f"{head}Content-Type: {media_type}\r\n\r\n".encode() + data + f"\r\n--{boundary}--\r\n".encode()
        path = f"/api/projects/{project}/import?commit_to_project=false"
        made = await self._call("POST", path, body, f"multipart/form-data; boundary={boundary}")
        number = int(made["file_upload_ids"][0])
        return "/data/" + quote(str((await self._json("GET", f"/api/import/file-upload/{number}"))["file"]))

    async def call_back(self, project: int, url: str, headers: Mapping[str, str]) -> int:
        """Have Label Studio call an address when annotations of a project change; returns the number of the webhook.

        The project's webhook that a sync left behind is changed, at whatever address it listened. The calls tell the
        kind of the change alone. BadInput for an address that the server refuses.
        """
        fields: dict[str, Any] = {"url": url, "headers": {**headers, _MARK: "1"}, "actions": list(_CHANGES)}
        fields |= {"send_payload": False, "send_for_all_actions": False, "is_active": True}
        found = await self._json("GET", f"/api/webhooks/?{urlencode({'project': project})}")
        for one in found:
            if one["project"] == project and _MARK in (one["headers"] or {}):
                return int((await self._json("PATCH", f"/api/webhooks/{one['id']}/", fields))["id"])
        return int((await self._json("POST", "/api/webhooks/", {"project": project, **fields}))["id"])

    async def remove_webhook(self, webhook: int) -> None:
        """Remove a webhook; nothing happens where it is gone. Does not wait long for a server that is away."""
        with contextlib.suppress(BadInput):
            await self._call("DELETE", f"/api/webhooks/{webhook}/", None, "application/json", _AT_THE_END)

    async def people(self) -> dict[int, str]:
        """Return the users of the organisation: id → address of mail."""
        found = await self._json("GET", "/api/users")
        return {int(one["id"]): str(one.get("email") or one.get("username") or "") for one in found if one.get("email")}

    async def _json(self, method: str, path: str, body: Any = None) -> Any:
        return await self._call(method, path, None if body is None else json.dumps(body).encode(), "application/json")

    async def _call(
        self, method: str, path: str, body: bytes | None, media_type: str, pauses: Sequence[float] | None = None
    ) -> Any:
        tried = _PAUSES if pauses is None else pauses
        return await asyncio.to_thread(self._patiently, method, path, body, media_type, tried)

    def _patiently(self, method: str, path: str, body: bytes | None, media_type: str, pauses: Sequence[float]) -> Any:
        renewed = False
        for pause in (*pauses, None):
            try:
                if not self._header:
                    self._refresh()
                return self._send(method, path, body, media_type)
            except Unauthenticated:
                # An access token lives for minutes; one refusal may be its end.
                if not self._refreshes or renewed:
                    raise
                renewed, self._header = True, ""
            except Unavailable:
                # A POST may have been done: its caller looks at what is there and tries again.
                if pause is None or method == "POST":
                    raise
                time.sleep(pause)
        raise Unavailable(f"Label Studio: {method} {path.partition('?')[0]} does not come through")

    def _refresh(self) -> None:
        self._header = ""
        body = json.dumps({"refresh": self._token}).encode()
        self._header = f"Bearer {self._send('POST', '/api/token/refresh', body, 'application/json')['access']}"

    def _send(self, method: str, path: str, body: bytes | None, media_type: str) -> Any:
        headers = {"Content-Type": media_type, "User-Agent": "tessera", "Accept": "application/json"}
        if self._header:
            headers["Authorization"] = self._header
        request = urllib.request.Request(self._url + path, body, headers, method=method)  # noqa: S310  # checked above
        what = f"Label Studio: {method} {path.partition('?')[0]}"
        try:
            with calls.opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                data = response.read(_ANSWER_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(what, error.code, error.read(65_536)) from None
        except (OSError, ValueError) as error:
            raise Unavailable(f"{what}: no answer ({type(error).__name__}); is {self._url} the server?") from None
        if len(data) > _ANSWER_BYTES:
            raise BadInput(f"{what}: answers with more than {_ANSWER_BYTES >> 20} MiB")
        try:
            return json.loads(data) if data else None
        except ValueError:
            raise BadInput(f"{what}: the answer is no JSON; is {self._url} Label Studio?") from None


def _refusal(what: str, code: int, body: bytes) -> Exception:
    """Return the error for a status; with the server's own words where it gives any."""
    try:
        found = json.loads(body)
        detail = str(found.get("detail") or "") + _fields(found.get("validation_errors"))
    except (ValueError, AttributeError):
        detail = ""
    said = f" ({detail.strip()[:300]})" if detail.strip() else ""
    if code == 401:
        return Unauthenticated(f"{what}: the token is not accepted{said}; make a personal access token")
    if code == 403:
        return Forbidden(f"{what}: this user may not{said}")
    if code == 404:
        return BadInput(f"{what}: is not there{said}; was the project deleted?")
    if code in _AGAIN:
        return Unavailable(f"{what}: answers {code}{said}")
    return BadInput(f"{what}: is refused with {code}{said}")


def _fields(errors: Any) -> str:
    texts: Iterable[str] = (f"{name}: {text}" for name, text in errors.items()) if isinstance(errors, dict) else ()
    return " " + "; ".join(texts)
