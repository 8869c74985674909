"""A CVAT server through its own client, cvat-sdk: the only module that imports it.

Every call blocks, is bounded in time, and is checked against CVAT's OpenAPI schema by the client. Errors name the
server and what was asked of it, and never the token.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from tessera.adapters.cvat.api import CvatIds, from_api, to_api
from tessera.adapters.cvat.scheme import raw_labels
from tessera.adapters.cvat.shapes import CvatLabel, CvatShape
from tessera.errors import BadInput, TesseraError, Unavailable

_CONNECT_SECONDS: Final = 10.0
_READ_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 1.0
_BODY: Final = 200


@dataclass(frozen=True)
class CvatJob:
    """A job: a run of a task's images that one person annotates."""

    number: int
    url: str
    """Of its page."""
    state: str
    """new, in progress, completed or rejected."""
    assignee: str
    """Empty: nobody."""
    updated: str
    """ISO 8601."""
    first: int
    last: int
    """Its frames, both inclusive."""


@dataclass(frozen=True)
class CvatFrame:
    """An image of a task."""

    name: str
    width: int
    height: int
    deleted: bool


class CvatServer:
    """The server at ``url`` for whoever owns ``token`` (a personal access token); a context manager.

    BadInput: cvat-sdk is not installed, the address is none.
    """

    def __init__(
        self, url: str, token: str, *, organization: str = "", timeout: tuple[float, float] | None = None
    ) -> None:
        try:
            from cvat_sdk.core.client import AccessTokenCredentials, Client, Config
            from cvat_sdk.core.exceptions import InvalidHostException
        except ModuleNotFoundError:
            raise BadInput("CVAT: needs its client: pip install 'tessera-al[cvat]'") from None
        if not token.strip() or not token.isascii() or not token.isprintable():
            raise BadInput("CVAT: the access token is empty or none; make one in CVAT's profile page")
        try:
            config = Config(status_check_period=_POLL_SECONDS)
            self._client = Client(url, config=config, check_server_version=False)
        except InvalidHostException:
            raise BadInput(f"CVAT {url!r}: no address; write https://host") from None
        self.url = self._client.api_map.host
        self._token = token
        self._client.login(AccessTokenCredentials(token))
        self._client.organization_slug = organization or None
        self._bound(timeout or (_CONNECT_SECONDS, _READ_SECONDS))

    def _bound(self, timeout: tuple[float, float]) -> None:
        """Give every request a limit in time, which the client asks for call by call, and few retries."""
        import urllib3

        rest = self._client.api_client.rest_client
        inner = rest.request

        def bounded(*args: Any, **named: Any) -> Any:
            return inner(*args, **{**named, "_request_timeout": named.get("_request_timeout") or timeout})

        rest.request = bounded
        rest.pool_manager.connection_pool_kw["retries"] = urllib3.Retry(total=3, connect=2, read=0, status=0)

    def __enter__(self) -> CvatServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Connections first: the client's own end waits for nothing and closes none.
        self._client.api_client.rest_client.pool_manager.clear()
        self._client.close()

    def project(self, name: str) -> int | None:
        """Return the number of the project of this name; None where there is none."""
        with self._asked("read its projects"):
            found = self._all(self._client.api_client.projects_api.list_endpoint, name=name)
        return min((int(one["id"]) for one in found if one["name"] == name), default=None)

    def make_project(self, name: str, labels: Sequence[CvatLabel]) -> int:
        """Make a project with these labels and return its number."""
        from cvat_sdk import models

        with self._asked(f"make project {name!a}"):
            request = models.ProjectWriteRequest(name=name, labels=raw_labels(labels))
            made, _ = self._client.api_client.projects_api.create(request)
            return int(made.id)

    def ids(self, project: int) -> CvatIds:
        """Return the numbers of a project's labels."""
        with self._asked(f"read the labels of project {project}"):
            return CvatIds.of(self._all(self._client.api_client.labels_api.list_endpoint, project_id=project))

    def task(self, project: int, name: str) -> int | None:
        """Return the number of a project's task of this name; None where there is none."""
        with self._asked("read its tasks"):
            found = self._all(self._client.api_client.tasks_api.list_endpoint, project_id=project, name=name)
        return min((int(one["id"]) for one in found if one["name"] == name), default=None)

    def make_task(self, project: int, name: str, images_per_job: int) -> int:
        """Make a task without images and return its number."""
        from cvat_sdk import models

        with self._asked(f"make task {name!a}"):
            request = models.TaskWriteRequest(name=name, project_id=project, segment_size=images_per_job, overlap=0)
            made, _ = self._client.api_client.tasks_api.create(request)
            return int(made.id)

    def is_empty(self, task: int) -> bool:
        """Return whether a task has no images."""
        with self._asked(f"read task {task}"):
            found, _ = self._client.api_client.tasks_api.retrieve(task)
            return not found.size

    def upload(self, task: int, files: Sequence[Path]) -> None:
        """Give a task its images, in this order, without loss, and wait until the server has taken them."""
        self._data(task, [str(one) for one in files], "LOCAL", {})

    def refer(self, task: int, keys: Sequence[str], cloud_storage: int) -> None:
        """Let a task read its images from a cloud storage that the server knows, by their keys there."""
        self._data(task, keys, "SHARE", {"cloud_storage_id": cloud_storage})

    def _data(self, task: int, resources: Sequence[str], kind: str, more: Mapping[str, Any]) -> None:
        from cvat_sdk.core.proxies.tasks import ResourceType

        params = {"image_quality": 100, "sorting_method": "predefined", "use_cache": True, **more}
        with self._asked(f"give task {task} its {len(resources)} images"):
            self._client.tasks.retrieve(task).upload_data(resources, resource_type=ResourceType[kind], params=params)

    def frames(self, task: int) -> list[CvatFrame]:
        """Return a task's images, in the order of their numbers."""
        with self._asked(f"read the images of task {task}"):
            meta, _ = self._client.api_client.tasks_api.retrieve_data_meta(task)
            gone = set(meta.deleted_frames)
            return [
                CvatFrame(str(one.name), int(one.width), int(one.height), at in gone)
                for at, one in enumerate(meta.frames or ())
            ]

    def jobs(self, task: int) -> list[CvatJob]:
        """Return the jobs in which a task is annotated; not those of ground truth or of single annotators' copies."""
        with self._asked(f"read the jobs of task {task}"):
            found = self._all(self._client.api_client.jobs_api.list_endpoint, task_id=task)
        made = [
            CvatJob(
                number=int(one["id"]),
                url=f"{self.url}/tasks/{task}/jobs/{one['id']}",
                state=str(one["state"]),
                assignee=str((one.get("assignee") or {}).get("username", "")),
                updated=str(one.get("updated_date", "")),
                first=int(one["start_frame"]),
                last=int(one["stop_frame"]),
            )
            for one in found
            if one.get("type", "annotation") == "annotation"
        ]
        return sorted(made, key=lambda one: one.first)

    def shapes(self, job: CvatJob, ids: CvatIds) -> dict[int, list[CvatShape]]:
        """Return a job's shapes and tags by frame."""
        with self._asked(f"read the annotations of job {job.number}"):
            data, _ = self._client.api_client.jobs_api.retrieve_annotations(job.number)
            return from_api((one.to_dict() for one in data.shapes), (one.to_dict() for one in data.tags), ids)

    def draw(self, job: CvatJob, frames: Mapping[int, Sequence[CvatShape]], ids: CvatIds) -> None:
        """Replace all annotations of a job by these, at once."""
        from cvat_sdk import models

        shapes, tags = to_api(frames, ids)
        with self._asked(f"draw on job {job.number}"):
            request = models.LabeledDataRequest(version=0, shapes=shapes, tags=tags, tracks=[])
            self._client.api_client.jobs_api.update_annotations(job.number, labeled_data_request=request)

    def _all(self, endpoint: Any, **query: Any) -> list[dict[str, Any]]:
        """Return all pages of a list, as JSON that the client has checked."""
        from cvat_sdk.core.helpers import get_paginated_collection

        return list(get_paginated_collection(endpoint, return_json=True, **query))

    @contextlib.contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        """Turn what the client raises into errors that say what was asked of which server."""
        import urllib3
        from cvat_sdk import exceptions
        from cvat_sdk.api_client.exceptions import OpenApiException
        from cvat_sdk.core.exceptions import BackgroundRequestException, CvatSdkException

        try:
            yield
        except TesseraError:
            raise
        except exceptions.ApiException as error:
            raise self._refused(what, int(error.status or 0), error.body or error.reason) from None
        except (OpenApiException, json.JSONDecodeError) as error:
            # Also for a page of a proxy, which answers with status 200.
            raise BadInput(
                f"CVAT {self.url}: answers to «{what}» in another way than cvat-sdk expects "
                f"({self._short(error)}); check the address, and that the versions fit"
            ) from None
        except urllib3.exceptions.HTTPError as error:
            reason = type(getattr(error, "reason", None) or error).__name__
            raise Unavailable(
                f"CVAT {self.url}: does not {what} ({reason}); check that it runs, then try again"
            ) from None
        except BackgroundRequestException as error:
            raise BadInput(f"CVAT {self.url}: cannot {what}: {self._short(error)}") from None
        except CvatSdkException as error:
            raise Unavailable(f"CVAT {self.url}: does not {what}: {self._short(error)}") from None

    def _refused(self, what: str, status: int, body: Any) -> TesseraError:
        said = self._short(body)
        if status == 401:
            return BadInput(f"CVAT {self.url}: does not know the access token (401); make another one")
        if status == 403:
            return BadInput(f"CVAT {self.url}: the owner of the access token may not {what} (403: {said})")
        if status == 404:
            return BadInput(f"CVAT {self.url}: cannot {what}: nothing is there (404); check address and organization")
        if status == 0 or status == 429 or status >= 500:
            return Unavailable(f"CVAT {self.url}: does not {what} ({status}: {said}); try again")
        return BadInput(f"CVAT {self.url}: refuses to {what} ({status}: {said})")

    def _short(self, said: Any) -> str:
        """Return the beginning of what a server said, on one line, without the token."""
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        return " ".join(text.replace(self._token, "…").split())[:_BODY]
