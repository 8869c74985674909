"""A client of the coordinator, for the command line and the dashboard."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import TypeVar

from google.protobuf.message import Message

from tessera.errors import BadInput, Unavailable
from tessera.loop.view import merged
from tessera.pb import runs_pb2 as pb
from tessera.pb import workers_pb2
from tessera.runtime.rpc import Channel

SERVICE = "tessera.v1.RunsService"
CALL_SECONDS = 20.0
LIST_SECONDS = 300.0
"""The first page of a run that has ended is there when the coordinator has read its whole log again: seconds for a
hundred thousand shards, and minutes on a busy machine."""
START_SECONDS = 40.0
T = TypeVar("T", bound=Message)


class RunsClient:
    """A client of RunsService at ``host:port``; an async context manager."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise BadInput(f"coordinator {address!r}: not an address; write host:port")
        self._channel = Channel(address)

    async def __aenter__(self) -> RunsClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect."""
        await self._channel.close()

    async def submit(self, spec: pb.RunSpec, check: Callable[[], None] | None = None) -> pb.SubmitRunResponse:
        """Submit a run, or get the one of this name; with ``check``, wait for a coordinator that is starting."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                request = pb.SubmitRunRequest(spec=spec)
                return await self._call("SubmitRun", request, pb.SubmitRunResponse)
            except Unavailable:
                if check is None or time.monotonic() > deadline:
                    raise
                check()
                await asyncio.sleep(0.2)

    async def get(self, run_id: str) -> pb.RunView:
        """Return the state of a run; BadInput when there is none of this name."""
        return (await self._call("GetRun", pb.GetRunRequest(run_id=run_id), pb.GetRunResponse)).run

    async def list(self) -> list[pb.RunView]:
        """Return the state of every run."""
        found: list[pb.RunView] = []
        request = pb.ListRunsRequest()
        while True:
            page = await self._call("ListRuns", request, pb.ListRunsResponse)
            found.extend(page.runs)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def with_shards(self, view: pb.RunView) -> pb.RunView:
        """Return the picture with the shards of the run's pool, which the coordinator sends in pages."""
        made = pb.RunView()
        made.CopyFrom(view)
        request = pb.ListObjectsRequest(run_id=view.spec.run_id, kind="shards")
        while True:
            path = f"{SERVICE}/ListObjects"
            page = await self._channel.call(path, request, pb.ListObjectsResponse, LIST_SECONDS)
            made.shards.extend(page.shards)
            if not page.next_page_token:
                return made
            request.page_token = page.next_page_token

    async def cancel(self, run_id: str, reason: str) -> pb.RunView:
        """Stop a run."""
        request = pb.CancelRunRequest(run_id=run_id, reason=reason)
        return (await self._call("CancelRun", request, pb.CancelRunResponse)).run

    async def resume(self, run_id: str) -> pb.RunView:
        """Let a failed or cancelled run continue."""
        return (await self._call("ResumeRun", pb.ResumeRunRequest(run_id=run_id), pb.ResumeRunResponse)).run

    async def redo(self, run_id: str, job_key: str) -> pb.RunView:
        """Have a job's result computed again; of the first run that has it where ``run_id`` is empty."""
        request = pb.RedoJobRequest(run_id=run_id, job_key=job_key)
        return (await self._call("RedoJob", request, pb.RedoJobResponse)).run

    async def watch(self, run_id: str) -> AsyncIterator[pb.WatchRunResponse]:
        """Yield the state of a run at every change until it ends."""
        request = pb.WatchRunRequest(run_id=run_id, deltas=True)
        known = pb.RunView()
        async for response in self._channel.stream(f"{SERVICE}/WatchRun", request, pb.WatchRunResponse):
            known = merged(known, response.run) if response.delta else response.run
            yield pb.WatchRunResponse(run=known, fraction=response.fraction, note=response.note)

    async def workers(self) -> Sequence[workers_pb2.MethodWorkers]:
        """Return who serves each method; empty if the coordinator is too old for the call or does not answer."""
        path = "tessera.v1.WorkersService/ListWorkers"
        with contextlib.suppress(Unavailable, BadInput):
            request, response = workers_pb2.ListWorkersRequest(), workers_pb2.ListWorkersResponse
            return (await self._channel.call(path, request, response, CALL_SECONDS)).methods
        return ()

    async def _call(self, name: str, request: Message, response: type[T]) -> T:
        return await self._channel.call(f"{SERVICE}/{name}", request, response, CALL_SECONDS)
