"""A run without services: every job is answered at once by a small model of what its service would do."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from google.protobuf.message import Message

from tessera.cli import extending
from tessera.loop import asking, plan
from tessera.loop.reading import parse
from tessera.loop.recipe import Recipe
from tessera.loop.reducer import RunState, apply
from tessera.pb import common_pb2 as common
from tessera.pb import embedder_pb2 as embedder
from tessera.pb import evaluator_pb2 as evaluator
from tessera.pb import oracle_pb2 as oracle
from tessera.pb import partitioner_pb2 as partitioner
from tessera.pb import questions_pb2 as questions
from tessera.pb import runs_pb2 as runs
from tessera.pb import scorer_pb2 as scorer
from tessera.pb import selector_pb2 as selector
from tessera.pb import trainer_pb2 as trainer
from tessera.pb.jobs_pb2 import JobFailure, JobRecord
from tessera.runtime import jobkeys

RECIPES = Path(__file__).parents[3] / "recipes"
NAMES = extending.names()
REGIONS, PIXELS = 16, 100
CLASSES = ("road", "sky", "car")
Region = tuple[int, int]


def mapping(name: str) -> dict[str, Any]:
    """A recipe of the repository as written, with everything it extends."""
    return extending.whole(RECIPES / f"{name}.yaml")


def load(name: str, **overrides: Any) -> Recipe:
    """A recipe of the repository; overrides with __ for a dot."""
    changes = {key.replace("__", "."): value for key, value in overrides.items()}
    return parse(mapping(name), changes)


PRICE: dict[str, Callable[[Region], float]] = {
    "clicks": lambda row: 1 + sum(row) % 4,
    "seconds": lambda row: 7.28 + (sum(row) % 3),
    "pixels": lambda row: 2 + sum(row) % 2,
}
"""Cost of an answer where the oracle has a budget."""


def _reach(prices: list[float], amount: float) -> int:
    spent = 0.0
    for count, price in enumerate(prices, 1):
        spent += price
        if spent >= amount:
            return count
    return len(prices)


def _sha256(rows: list[Region]) -> str:
    return hashlib.sha256("".join(f"{image}\t{region}\n" for image, region in rows).encode()).hexdigest()


def ref(kind: str, content: Any) -> common.ObjectRef:
    """A reference whose hash is that of the content."""
    digest = hashlib.sha256(f"{kind}:{json.dumps(content, sort_keys=True)}".encode()).hexdigest()
    return common.ObjectRef(
        bucket="b", key=f"cas/sha256/{digest[:2]}/{digest[2:]}", sha256=digest, size=1, media_type=kind
    )


def spec_of(
    recipe: Recipe, *, train: int = 40, val: int = 10, test: int = 9, seed: int = 7, **more: Any
) -> runs.RunSpec:
    """A run of a recipe on an imagined data set."""
    # A recipe that names the class undefined is for a data set of so many classes.
    undefined = [index for _, index in asking.undefined_classes(recipe)]
    names = [f"class {index}" for index in range(undefined[0])] if undefined else CLASSES
    spec = runs.RunSpec(
        run_id=more.get("run_id", "run-1"),
        recipe=recipe.canonical(),
        seed=seed,
        dataset_name="imagined",
        split_sizes={"train": train, "val": val, "test": test},
        class_names=names,
        shard_images=recipe.runtime.shard_images,
    )
    spec.dataset.manifest.CopyFrom(ref("manifest", train))
    for split in ("train", "val", "test"):
        spec.dataset.labels[split].CopyFrom(ref("labels", split))
    if recipe.model.pretrained != "random":
        spec.pretrained.CopyFrom(ref("weights", "imagenet"))
    return spec


def key_of(method: str, request: Message) -> str:
    """The job key, as a worker of version test/1 names it."""
    return jobkeys.job_key(method, "test/1", request)


@dataclass
class World:
    """Knowledge of the services: the rows behind every table reference."""

    rows: dict[str, list[Region]] = field(default_factory=dict)
    # Rows that one stage returns beyond its budget, to test the planner's guard.
    overshoot: int = 0
    # Of a data set that grows: images of each version, the version that arrives before a round, and its other splits.
    pools: dict[int, int] = field(default_factory=dict)
    arrivals: dict[int, int] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    # Versions some of whose new images have labels.
    labelled: set[int] = field(default_factory=set)

    def answer(self, job: plan.Job) -> Message:
        """The response of a job: a function of its request alone."""
        handler: Callable[[Any], Message] = getattr(self, f"_{job.method.lower()}")
        return handler(job.request)

    def _made(self, kind: str, request: Message) -> common.ObjectRef:
        return ref(kind, request.SerializeToString(deterministic=True).hex())

    def _table(self, kind: str, rows: list[Region]) -> common.ObjectRef:
        made = ref(kind, rows)
        self.rows[made.sha256] = rows
        return made

    def _partition(self, request: Any) -> Message:
        images = range(request.images.start, request.images.end)
        per_image = 1 if request.partition.name == "image" else REGIONS
        rows = [(image, region) for image in images for region in range(per_image)]
        shard = common.RegionShard(
            images=request.images, regions=self._table("regions", rows), maps=self._made("maps", request)
        )
        shard.region_count = len(rows)
        return partitioner.PartitionResponse(shard=shard, pixel_count=len(images) * REGIONS * PIXELS)

    def _discriminate(self, request: Any) -> Message:
        network = common.AuxiliaryRef(auxiliary=request.auxiliary, weights=self._made("auxiliary", request))
        return trainer.DiscriminateResponse(auxiliary=network, history=self._made("history", request))

    def _score(self, request: Any) -> Message:
        return scorer.ScoreResponse(scores=self._made("scores", request), region_count=request.shard.region_count)

    def _select(self, request: Any) -> Message:
        pool = [row for shard in request.shards for row in self.rows[shard.regions.sha256]]
        taken = {row for ledger in request.ledgers for row in self.rows[ledger.sha256]}
        among = set(self.rows[request.candidates.sha256]) if request.HasField("candidates") else set(pool)
        random = Random(f"{request.seed}")
        order = {row: random.random() for row in pool}
        free = sorted((row for row in pool if row not in taken and row in among), key=order.__getitem__)
        stage = request.stages[-1]
        parameters = json.loads(stage.parameters)
        if stage.name == "random_images":
            images = list(dict.fromkeys(image for image, _ in free))[: parameters["images"]]
            chosen = [row for row in free if row[0] in images]
        elif stage.name == "all":
            chosen = free
        else:
            most = math.ceil(request.budget.amount / (request.budget.cheapest or 1))
            chosen = free[: (parameters.get("count") or most) + self.overshoot]
        return selector.SelectResponse(
            selection=self._table("selection", chosen), selection_sha256=_sha256(chosen), count=len(chosen)
        )

    def _takeversion(self, request: Any) -> Message:
        manifest, version = request.manifest, request.version
        sizes = {"train": self.pools[version] if version else 0, **self.others}
        if request.round in self.arrivals:
            version = self.arrivals[request.round]
            manifest, sizes["train"] = ref("manifest", version), self.pools[version]
        given = ref("given", version) if version != request.version and version in self.labelled else None
        return runs.TakeVersionResponse(manifest=manifest, version=version, split_sizes=sizes, given=given)

    def _answer(self, request: Any) -> Message:
        rows = self.rows[request.selection.sha256] if not request.imported else self._labelled(request)
        budget = request.budget if request.HasField("budget") else None
        if budget is not None:
            rows = rows[: _reach([PRICE[budget.unit](row) for row in rows], budget.amount)]
        cost = oracle.Cost(
            regions=len(rows),
            images=len({image for image, _ in rows}),
            pixels=len(rows) * PIXELS,
            clicks=len(rows) * 10,
        )
        cost.clicks_without_undefined, cost.labelling_seconds = len(rows) * 9, len(rows) * 1.5
        if request.imported:
            cost = oracle.Cost(regions=len(rows), images=1, pixels=len(rows) * PIXELS)
        response = oracle.AnswerResponse(ledger=self._table("ledger", rows), cost=cost)
        if request.labels_of:
            response.labels.CopyFrom(self._made("labels", request))
        if budget is not None:
            cost = response.cost
            cost.clicks = sum(PRICE["clicks"](row) for row in rows)
            cost.labelling_seconds = sum(PRICE["seconds"](row) for row in rows)
            cost.pixels = sum(PRICE["pixels"](row) for row in rows)
            response.selection.CopyFrom(self._table("selection", rows))
            response.selection_sha256 = _sha256(rows)
        return response

    def _labelled(self, request: Any) -> list[Region]:
        return [(request.shards[0].images.start, region) for region in range(4)]

    def _ask(self, request: Any) -> Message:
        rows = self.rows[request.selection.sha256]
        return scorer.AskResponse(questions=self._table("questions", rows), count=len(rows))

    def _collect(self, request: Any) -> Message:
        rows = self.rows[request.questions.sha256]
        answers = self._table("answers", rows)
        return questions.CollectResponse(answers=answers, questions=len(rows), answered=len(rows), reason="settled")

    def _train(self, request: Any) -> Message:
        model = common.ModelRef(
            architecture=request.architecture, classes=request.classes, weights=self._made("weights", request)
        )
        epochs = json.loads(request.training.parameters)["epochs"]
        made = trainer.TrainResponse(model=model, history=self._made("history", request), kept_epoch=epochs)
        if request.acquisition_model == "last":
            made.reported.CopyFrom(model)
            made.reported.weights.CopyFrom(self._made("reported", request))
        if json.loads(request.training.parameters).get("memory_bank"):
            made.extras["memory_bank"].CopyFrom(self._made("bank", request))
        if json.loads(request.training.parameters).get("discriminator"):
            made.extras["discriminator"].CopyFrom(self._made("discriminator", request))
        return made

    def _evaluate(self, request: Any) -> Message:
        images = request.images.end - request.images.start
        response = evaluator.EvaluateResponse(confusion=self._made("confusion", request), images=images)
        # The third class is not in the truth and never predicted.
        response.true_positives.extend([60 * images, 20 * images, 0])
        response.false_positives.extend([10 * images, 10 * images, 0])
        response.false_negatives.extend([10 * images, 10 * images, 0])
        return response

    def _featurize(self, request: Any) -> Message:
        return embedder.FeaturizeResponse(
            features=self._made("features", request), targets=self._made("targets", request)
        )

    def _fit(self, request: Any) -> Message:
        embedding = None if request.HasField("bank") else self._made("embedding", request)
        return embedder.FitResponse(projection=self._made("projection", request), embedding=embedding)

    def _project(self, request: Any) -> Message:
        return embedder.ProjectResponse(embedding=self._made("embedding", request))


@dataclass
class Walk:
    """A run played to its end."""

    state: RunState
    events: list[runs.RunEvent]
    started: list[plan.StartStep]
    end: plan.Action
    world: World

    def step(self, round_: int, name: str) -> plan.StartStep:
        """A started step."""
        return next(one for one in self.started if (one.round, one.step) == (round_, name))

    def requests(self, round_: int, name: str) -> list[Any]:
        """Requests of a started step."""
        return [job.request for job in self.step(round_, name).jobs]

    def chosen(self) -> list[list[Region]]:
        """Labelled regions of each round."""
        selected = [one for one in self.started if one.step == "label"]
        return [self.world.rows[one.jobs[0].request.selection.sha256] for one in selected]


def submitted(spec: runs.RunSpec) -> runs.RunEvent:
    """The first event of a run."""
    return runs.RunEvent(submitted=runs.RunSubmitted(spec=spec))


def step_started(action: plan.StartStep) -> runs.RunEvent:
    """Return the event of a decision."""
    keys = [key_of(job.method, job.request) for job in action.jobs]
    return runs.RunEvent(step_started=runs.StepStarted(round=action.round, step=action.step, job_keys=keys))


def job_done(key: str, method: str, response: Message, seconds: float = 2.0) -> runs.RunEvent:
    """Return the event of a result."""
    record = JobRecord(
        job_key=key, method=method, algorithm="test/1", response=response.SerializeToString(deterministic=True)
    )
    record.compute_seconds = seconds
    if method == "Train":
        record.images_per_second = 25.0
    return runs.RunEvent(job_done=runs.JobDone(record=record))


def job_failed(key: str, method: str = "Train", message: str = "no room", exit_code: int = 3) -> runs.RunEvent:
    """Return the event of a failure."""
    failure = JobFailure(job_key=key, method=method, reason="out_of_memory", message=message, exit_code=exit_code)
    return runs.RunEvent(job_failed=runs.JobFailed(failure=failure))


def timed(events: Iterable[runs.RunEvent]) -> list[runs.RunEvent]:
    """The events, one second apart."""
    made = []
    for index, event in enumerate(events):
        one = runs.RunEvent()
        one.CopyFrom(event)
        one.time.seconds = 1000 + index
        made.append(one)
    return made


def walk(spec: runs.RunSpec, world: World | None = None) -> Walk:
    """Play a run to its end, every job answered in order."""
    world = world or World()
    events, started = [], []
    state = RunState()

    def put(event: runs.RunEvent) -> None:
        nonlocal state
        event.time.seconds = 1000 + len(events)
        events.append(event)
        state = apply(state, event)

    put(submitted(spec))
    for _ in range(1000):
        action = plan.next_action(state)
        if not isinstance(action, plan.StartStep):
            if isinstance(action, plan.Finish):
                put(runs.RunEvent(finished=runs.RunFinished(reason=action.reason)))
            if isinstance(action, plan.Fail):
                put(runs.RunEvent(failed=runs.RunFailed(message=action.message, exit_code=action.exit_code)))
            return Walk(state, events, started, action, world)
        started.append(action)
        event = step_started(action)
        put(event)
        for key, job in zip(event.step_started.job_keys, action.jobs, strict=True):
            put(job_done(key, job.method, world.answer(job)))
    raise AssertionError("the run does not end")
