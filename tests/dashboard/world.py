"""A dashboard over a coordinator that tells of made-up runs: real HTTP, real gRPC, real objects in a folder."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from services.dashboard.app import Dashboard
from services.dashboard.links import Links
from services.dashboard.questions import Questions
from services.dashboard.run_data import RunData
from services.dashboard.server import listen, serve_app
from services.dashboard.sign_in import Door
from tessera.cli import recipes
from tessera.errors import BadInput
from tessera.formats import images, manifests, schemas, tables
from tessera.formats.media import PARQUET, PNG
from tessera.pb import common_pb2 as common
from tessera.pb import runs_pb2 as pb
from tessera.pb import workers_pb2
from tessera.regions import partition, region_table
from tessera.runtime import rpc
from tessera.runtime.objects import ObjectStore, open_store, restrict
from tessera.runtime.runs_client import RunsClient
from tessera.runtime.settings import load
from unit.reporting.sample import COLORS, NAMES, scene

TOKEN = "an operator's token for tests"  # noqa: S105  # of tests
HEIGHT, WIDTH, GRID = 64, 96, 4


class Letters:
    """Stands for the DLQ where a test needs no NATS."""

    def __init__(self) -> None:
        self.requeued: list[str | None] = []
        self.kept: list[Any] = []

    async def list(self) -> list[Any]:
        return self.kept

    async def requeue(self, job_key: str | None = None) -> list[Any]:
        self.requeued.append(job_key)
        return []


@dataclass
class World:
    """The coordinator's answers, the store, and a client."""

    store: ObjectStore
    views: dict[str, pb.RunView] = field(default_factory=dict)
    shards: list[common.RegionShard] = field(default_factory=list)
    letters: Letters = field(default_factory=Letters)
    told: list[tuple[str, str]] = field(default_factory=list)
    extra: list[rpc.Endpoint] = field(default_factory=list)
    dataset: common.Dataset = field(default_factory=common.Dataset)
    base: str = ""
    links: Links = field(default_factory=Links)
    door: Door = field(init=False)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.door = Door(TOKEN, revoked=lambda link: self.links.is_revoked(link))

    def client(self) -> httpx.AsyncClient:
        """A browser without a session."""
        return httpx.AsyncClient(base_url=self.base, timeout=60)

    async def signed_in(self, client: httpx.AsyncClient, token: str = TOKEN) -> str:
        """Sign in; returns the form key that the pages of the session hold."""
        entered = await client.post("/sign-in", data={"token": token})
        assert entered.status_code == 303, entered.text
        page = (await client.get("/label")).text
        return page.split('name="form-key" content="')[1].split('"')[0]

    def endpoints(self) -> list[rpc.Endpoint]:
        service = "tessera.v1.RunsService"
        return [
            rpc.Unary(f"{service}/ListRuns", pb.ListRunsRequest, self._list),
            rpc.Unary(f"{service}/GetRun", pb.GetRunRequest, self._get),
            rpc.Unary(f"{service}/CancelRun", pb.CancelRunRequest, self._cancel),
            rpc.Unary(f"{service}/ResumeRun", pb.ResumeRunRequest, self._resume),
            rpc.Unary(f"{service}/ListObjects", pb.ListObjectsRequest, self._objects),
            rpc.Stream(f"{service}/WatchRun", pb.WatchRunRequest, self._watch),
            rpc.Unary("tessera.v1.WorkersService/ListWorkers", workers_pb2.ListWorkersRequest, self._workers),
            *self.extra,
        ]

    def _view(self, run_id: str) -> pb.RunView:
        if run_id not in self.views:
            raise BadInput(f"run {run_id!r}: unknown; tessera status lists the runs")
        return self.views[run_id]

    async def _list(self, request: pb.ListRunsRequest) -> pb.ListRunsResponse:
        made = pb.ListRunsResponse()
        for view in self.views.values():
            one = made.runs.add()
            one.CopyFrom(view)
            del one.rounds[:]
        return made

    async def _get(self, request: pb.GetRunRequest) -> pb.GetRunResponse:
        return pb.GetRunResponse(run=self._view(request.run_id))

    async def _cancel(self, request: pb.CancelRunRequest) -> pb.CancelRunResponse:
        self.told.append(("cancel", request.run_id))
        return pb.CancelRunResponse(run=self._view(request.run_id))

    async def _resume(self, request: pb.ResumeRunRequest) -> pb.ResumeRunResponse:
        self.told.append(("resume", request.run_id))
        return pb.ResumeRunResponse(run=self._view(request.run_id))

    async def _objects(self, request: pb.ListObjectsRequest) -> pb.ListObjectsResponse:
        return pb.ListObjectsResponse(shards=self.shards)

    async def _watch(self, request: pb.WatchRunRequest) -> AsyncGenerator[pb.WatchRunResponse, None]:
        while True:
            view = self._view(request.run_id)
            yield pb.WatchRunResponse(run=view, fraction=0.5, note="training")
            if view.status != pb.RUN_STATUS_RUNNING:
                return
            self.changed.clear()
            await self.changed.wait()

    async def _workers(self, request: workers_pb2.ListWorkersRequest) -> workers_pb2.ListWorkersResponse:
        made = workers_pb2.ListWorkersResponse()
        made.methods.add(method="Train", service="trainer", waiting_jobs=3, absent=True, unseen_seconds=90)
        made.methods.add(method="Score", service="scorer", waiting_requests=1)
        return made

    # ---- making runs

    async def make_pool(self, count: int) -> None:
        """A data set of ``count`` images in 4×4 patches, in the store."""
        rng = np.random.default_rng(0)
        regions = partition("grid", {"rows": GRID, "cols": GRID}, (HEIGHT, WIDTH))
        map_ref = await self.store.put_content(images.encode_png(regions.astype(np.uint8)), PNG)
        refs = [
            await self.store.put_content(images.encode_png(scene(rng, HEIGHT, WIDTH)), PNG)
            for _ in range(min(count, 8))
        ]
        items = tuple(
            manifests.ImageItem(f"image{place:06d}", refs[place % len(refs)], WIDTH, HEIGHT, "", 0.0)
            for place in range(count)
        )
        classes = tuple(manifests.ClassInfo(name, color) for name, color in zip(NAMES, COLORS, strict=True))
        manifest = manifests.DatasetManifest("street", classes, {"train": items})
        stored = await self.store.put_content(manifests.dataset_to_json(manifest), "application/json")
        self.dataset = common.Dataset(manifest=stored)
        maps = {"image_id": [item.image_id for item in items], "height": [HEIGHT] * count, "width": [WIDTH] * count}
        for name in ("bucket", "key", "sha256", "size", "media_type"):
            maps[name] = [getattr(map_ref, name)] * count
        where = common.ImageRange(split="train", start=0, end=count)
        self.shards.append(
            common.RegionShard(
                images=where, maps=await self.store.put_content(tables.write(schemas.MAPS, maps), PARQUET)
            )
        )

    async def add_run(
        self, run_id: str, status: pb.RunStatus = pb.RUN_STATUS_DONE, rounds: int = 3, per_round: int = 8, seed: int = 0
    ) -> pb.RunView:
        """A run of street_meal with measured rounds over the pool."""
        recipe = recipes.load("street_meal", ()).canonical()
        spec = pb.RunSpec(
            run_id=run_id, recipe=recipe, seed=seed, dataset_name="street", dataset=self.dataset, class_names=NAMES
        )
        images_ = self.shards[0].images.end
        spec.split_sizes["train"] = images_
        view = pb.RunView(spec=spec, status=status, planned_rounds=rounds, round=rounds - 1, step="evaluate")
        view.pool_regions, view.pool_pixels = images_ * GRID**2, images_ * HEIGHT * WIDTH
        for number in range(rounds):
            entry = view.rounds.add(round=number, complete=True, selection_sha256=f"{number:064x}")
            entry.selection.CopyFrom(await self._selection(number, per_round))
            entry.ledger.CopyFrom(await self._ledger(number, per_round))
            entry.cost.regions, entry.cost.images, entry.cost.clicks = per_round, per_round, 9 * per_round
            entry.cost.pixels, entry.cost.labelling_seconds = per_round * 384, 28.0 * per_round
            for split in ("val", "test"):
                hits = [60 + 5 * number + seed + index for index in range(len(NAMES))]
                wrong = [40 - 5 * number] * len(NAMES)
                entry.splits.add(
                    split=split, true_positives=hits, false_positives=wrong, false_negatives=wrong, images=8
                )
        self.views[run_id] = view
        return view

    def _places(self, number: int, count: int) -> list[tuple[str, int]]:
        """Regions that no other round chooses."""
        of = self.shards[0].images.end
        places = range(number * count, (number + 1) * count)
        return [(f"image{place % of:06d}", place // of % GRID**2) for place in places]

    async def _selection(self, number: int, count: int) -> common.ObjectRef:
        places = self._places(number, count)
        columns = {
            "rank": np.arange(count, dtype=np.int32),
            "image_id": [image for image, _ in places],
            "region_id": [region for _, region in places],
            "score": np.zeros(count, np.float32),
            "cluster": np.full(count, -1, np.int32),
        }
        return await self.store.put_content(tables.write(schemas.SELECTION, columns), PARQUET)

    async def _ledger(self, number: int, count: int) -> common.ObjectRef:
        places = self._places(number, count)
        regions = partition("grid", {"rows": GRID, "cols": GRID}, (HEIGHT, WIDTH))
        table = region_table(regions)
        boxes = [table.box(region) for _, region in places]
        same: dict[str, Any] = {
            "round": number, "query": "multi_class", "pixels": 384, "clicks": 9, "clicks_without_undefined": 9,
            "seconds": 28.0, "oracle": "simulated", "seed": 0, "event_id": "e", "seconds_model": "user_study",
            "map_sha256": "", "answer_bucket": "", "answer_key": "", "answer_sha256": "", "answer_size": 0,
            "answer_media_type": "",
        }  # fmt: skip
        columns: dict[str, Any] = {name: [value] * count for name, value in same.items()}
        columns |= {"image_id": [image for image, _ in places], "region_id": [region for _, region in places]}
        columns |= {name: [box[axis] for box in boxes] for axis, name in enumerate(("y0", "x0", "y1", "x1"))}
        columns["classes"] = [[1, 3]] * count
        return await self.store.put_content(tables.write(schemas.LEDGER, columns), PARQUET)


@contextlib.asynccontextmanager
async def serving(
    world: World, port: int = 0, context: ssl.SSLContext | None = None, *, behind_tls: bool = False
) -> AsyncIterator[Dashboard]:
    """Serve the world's coordinator and its dashboard on loopback until the block ends; with ``context`` over TLS.

    ``behind_tls``: a server in front would speak it.
    """
    server = rpc.Server(world.endpoints(), load())
    address = await server.start()
    channel = rpc.Channel(address)
    store = restrict(world.store, "dashboard")
    data = RunData(RunsClient(address), store, world.letters)  # type: ignore[arg-type]
    questions = Questions(channel, store, world.door)
    dashboard = Dashboard(world.door, data, questions, secure=behind_tls or context is not None, links=world.links)
    listening, stop = listen("127.0.0.1", port), asyncio.Event()
    world.base = "{}://{}:{}".format("https" if context else "http", *listening.getsockname()[:2])
    task = asyncio.create_task(serve_app(dashboard, listening, stop, context))
    try:
        yield dashboard
    finally:
        stop.set()
        world.changed.set()
        await task
        await server.stop(0.1)


async def small(folder: Path) -> World:
    """A world with two runs over a pool of twenty images."""
    world = World(open_store(folder.as_uri(), load(fsync=False)))
    await world.make_pool(20)
    await world.add_run("meal-1", seed=1)
    await world.add_run("meal-2", pb.RUN_STATUS_RUNNING, seed=2)
    return world


__all__ = ["TOKEN", "Letters", "World", "serving", "small"]
