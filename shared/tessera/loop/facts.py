"""Read-only views of a run's finished steps, decoded; requests and summaries are made from them."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message

from tessera.errors import BadInput
from tessera.loop import networks
from tessera.loop.budget import allowance, remaining
from tessera.loop.recipe import Recipe
from tessera.loop.reducer import RunState
from tessera.loop.seeds import derive
from tessera.pb.common_pb2 import AuxiliaryRef, ImageRange, JobContext, ModelRef, ObjectRef, RegionShard
from tessera.pb.embedder_pb2 import FeatureShard, FeaturizeResponse, FitResponse, ProjectResponse
from tessera.pb.oracle_pb2 import AnswerResponse, Cost
from tessera.pb.partitioner_pb2 import PartitionResponse
from tessera.pb.questions_pb2 import CollectResponse
from tessera.pb.runs_pb2 import TakeVersionResponse
from tessera.pb.scorer_pb2 import ScoreResponse
from tessera.pb.selector_pb2 import Budget, SelectResponse
from tessera.pb.trainer_pb2 import DiscriminateResponse, TrainResponse
from tessera.units import PoolSize

M = TypeVar("M", bound=Message)


def shards_of(split: str, size: int, shard_images: int) -> list[ImageRange]:
    """Cut ``size`` images of a split into ranges of at most ``shard_images``, in order."""
    return [
        ImageRange(split=split, start=start, end=min(start + shard_images, size))
        for start in range(0, size, shard_images)
    ]


def without_initial(recipe: Recipe) -> Recipe:
    """Return the recipe without an amount for the first set, which came with the data and was not paid for."""
    return recipe.model_copy(update={"budget": recipe.budget.model_copy(update={"initial": None})})


class Facts:
    """Results of a run by their meaning; reading one whose step is not done is a programming error (KeyError)."""

    def __init__(self, state: RunState, recipe: Recipe) -> None:
        if state.spec is None:
            raise ValueError("a run without a spec has no facts")
        self.state, self.spec = state, state.spec
        self._partitions: dict[tuple[int, ...], list[PartitionResponse]] = {}
        self.recipe = without_initial(recipe) if self.spec.dataset.HasField("given") else recipe

    def context(self, round_: int, step: str, shard: int = 0) -> JobContext:
        """Return the place of a request in the run."""
        return JobContext(run_id=self.spec.run_id, round=round_, step=step, shard=shard)

    def seed(self, round_: int, purpose: str) -> int:
        """Return the seed of one purpose in one round."""
        return derive(self.spec.seed, round_, purpose)

    def has(self, round_: int, name: str) -> bool:
        """Return whether a step is done."""
        step = self.state.steps.get((round_, name))
        return step is not None and step.done

    def results(self, round_: int, name: str, kind: type[M]) -> list[M]:
        """Return the responses of a finished step, in job order."""
        return self.state.steps[round_, name].responses(kind)

    def ranges(self, split: str) -> list[ImageRange]:
        """Return the image ranges into which a split is cut; of train, that of round 0."""
        return shards_of(split, self.spec.split_sizes[split], self.shard_images)

    def data(self, round_: int) -> TakeVersionResponse:
        """Return the data set of a round: that of the submission, or the version that it or an earlier round took."""
        for earlier in range(round_, 0, -1):
            if self.has(earlier, "take"):
                return self.results(earlier, "take", TakeVersionResponse)[0]
        spec = self.spec
        return TakeVersionResponse(
            manifest=spec.dataset.manifest, version=spec.version, split_sizes=dict(spec.split_sizes)
        )

    def manifest(self, round_: int) -> ObjectRef:
        """Return the manifest of a round's data set."""
        return self.data(round_).manifest

    def joined(self, round_: int) -> list[ImageRange]:
        """Return the ranges of the images that join the pool in a round; in round 0 those of the whole pool."""
        if round_ == 0:
            return self.ranges("train")
        before, now = (self.data(one).split_sizes["train"] for one in (round_ - 1, round_))
        # Earlier shards stay as they are, so that what was computed for them is found.
        return [
            ImageRange(split=part.split, start=before + part.start, end=before + part.end)
            for part in shards_of("train", now - before, self.shard_images)
        ]

    @property
    def shard_images(self) -> int:
        """Return the number of images per shard: that of the submission, else the recipe's."""
        return self.spec.shard_images or self.recipe.runtime.shard_images

    def pooled(self, round_: int) -> int:
        """Return the last round up to this one whose pool is cut into regions."""
        for one in range(round_, 0, -1):
            if self.spec.series and self.has(one, "take") and (not self.joined(one) or self.has(one, "partition")):
                return one
        return round_ if not self.spec.series else 0

    def partitions(self, upto: int) -> list[PartitionResponse]:
        """Return the responses of the partitioner for the pool of a round, in the order of its images."""
        rounds = tuple(one for one in range(upto + 1) if (one, "partition") in self.state.steps)
        if rounds not in self._partitions:
            self._partitions[rounds] = [
                made for one in rounds for made in self.results(one, "partition", PartitionResponse)
            ]
        return self._partitions[rounds]

    def shards(self, round_: int) -> list[RegionShard]:
        """Return the shards of a round's pool."""
        return [response.shard for response in self.partitions(round_)]

    def pool(self, round_: int) -> PoolSize:
        """Return the size of the training pool of a round."""
        partitions = self.partitions(round_)
        return PoolSize(
            regions=sum(response.shard.region_count for response in partitions),
            images=self.data(round_).split_sizes["train"],
            pixels=sum(response.pixel_count for response in partitions),
        )

    def given(self, round_: int) -> list[AnswerResponse]:
        """Return the answers that came with images which joined the pool in a round ≥ 1: one response, or none."""
        return self.results(round_, "given", AnswerResponse) if self.has(round_, "given") else []

    def labels_joined(self, round_: int) -> ObjectRef | None:
        """Return the label manifest of images that joined the pool in a round ≥ 1; None where none had a label."""
        if not self.has(round_, "take"):
            return None
        (taken,) = self.results(round_, "take", TakeVersionResponse)
        return taken.given if taken.HasField("given") else None

    def initial_amount(self) -> float:
        """Return the amount of the first selection, in the budget's unit; exact where images have equally many regions.

        Where prices come with the answers: the recipe's ``budget.initial``, else 0. 0 where labels came with the data.
        """
        unit, pool, initial = self.recipe.budget.unit, self.pool(0), self.recipe.budget.initial
        totals = {"regions": pool.regions, "images": pool.images, "pixels": pool.pixels}
        if self.spec.dataset.HasField("given"):
            return 0.0
        if initial is not None or unit not in (*totals, "percent"):
            return initial or 0.0
        share = 1.0
        for stage in self.recipe.selection.initial:
            if images := stage.parameters.get("images"):
                share = images / pool.images
            if count := stage.parameters.get("count"):
                share = count / pool.regions
            if part := stage.parameters.get("share"):
                share = part
        return 100 * share if unit == "percent" else float(int(share * totals[unit] + 1e-6))

    def allowance(self, round_: int) -> Budget | None:
        """Return what a round may take; None where the initial stages alone decide."""
        return allowance(self.recipe, self.pool(round_), round_, self.costs(round_ - 1), self.free_costs(round_))

    def left(self, round_: int, unit: str) -> float:
        """Return how much of the pool, in a budget's unit, nobody has answered when a round chooses."""
        return remaining(unit, self.pool(round_), [*self.costs(round_ - 1), *self.free_costs(round_)])

    def selected(self, round_: int) -> SelectResponse:
        """Return the regions chosen in a round; under a budget in clicks or seconds, a longer ranking."""
        return self.results(round_, "select", SelectResponse)[0]

    def answers(self, upto: int) -> list[AnswerResponse]:
        """Return the answers of rounds 0 … ``upto``."""
        return [self.results(round_, "label", AnswerResponse)[0] for round_ in range(upto + 1)]

    def ledgers(self, upto: int) -> list[ObjectRef]:
        """Return the ledgers of rounds 0 … ``upto``, then those of labels that came with images until then."""
        return [answer.ledger for answer in (*self.answers(upto), *self._came(upto))]

    def answered_before(self, round_: int) -> list[ObjectRef]:
        """Return the ledgers of everything that is answered when a round chooses."""
        return [answer.ledger for answer in (*self.answers(round_ - 1), *self._came(round_))]

    def _came(self, upto: int) -> list[AnswerResponse]:
        return [given for round_ in range(1, upto + 1) for given in self.given(round_)]

    def skipped(self, upto: int) -> list[ObjectRef]:
        """Return the tables of regions that people skipped in rounds 0 … ``upto``."""
        return [answer.skipped for answer in self.answers(upto) if answer.HasField("skipped")]

    def costs(self, upto: int) -> list[Cost]:
        """Return the costs of rounds 0 … ``upto``."""
        return [self.cost(round_) for round_ in range(upto + 1)]

    def cost(self, round_: int) -> Cost:
        """Return what the answers of a round took; of people also the time and clicks of what they skipped.

        The ledger has answers alone.
        """
        cost = self.results(round_, "label", AnswerResponse)[0].cost
        if not self.has(round_, "collect"):
            return cost
        (said,) = self.results(round_, "collect", CollectResponse)
        if not (said.measured_seconds or said.measured_clicks):
            # Of an earlier version, or nothing was measured.
            return cost
        made = Cost()
        made.CopyFrom(cost)
        made.measured_seconds, made.measured_clicks = said.measured_seconds, said.measured_clicks
        return made

    def free_costs(self, upto: int) -> list[Cost]:
        """Return what labels that came with images in rounds 1 … ``upto`` took of the pool, which no budget pays."""
        return [given.cost for given in self._came(upto)]

    def trained(self, round_: int) -> TrainResponse:
        """Return the response of a round's training."""
        return self.results(round_, "train", TrainResponse)[0]

    def reported(self, round_: int) -> ModelRef:
        """Return the model of a round that is evaluated."""
        trained = self.trained(round_)
        return trained.reported if trained.HasField("reported") else trained.model

    def describing(self, round_: int) -> ModelRef:
        """Return the model of a round whose maps describe regions."""
        trained = self.trained(round_)
        return trained.features if trained.HasField("features") else trained.model

    def left_by(self, round_: int, name: str) -> ObjectRef:
        """Return the object ``name`` that a round's training left; BadInput when there is none."""
        extras = self.trained(round_).extras
        if name not in extras:
            raise BadInput(
                f"round {round_}: the training left no {name}, which the recipe asks for; restart the "
                "trainers with this version"
            )
        return extras[name]

    def auxiliary(self, round_: int) -> list[AuxiliaryRef]:
        """Return the auxiliary networks of a round: those trained for it, and those that a training left."""
        made: list[AuxiliaryRef] = []
        if self.has(round_, "discriminate"):
            made = [response.auxiliary for response in self.results(round_, "discriminate", DiscriminateResponse)]
        left = networks.left_by_training(self.recipe) if round_ else []
        return made + [AuxiliaryRef(auxiliary=axis, weights=self.left_by(round_ - 1, axis.name)) for axis in left]

    def scores(self, round_: int) -> list[ObjectRef]:
        """Return the score tables of a round, in shard order; none where the recipe scores nothing."""
        if not self.has(round_, "score"):
            return []
        return [response.scores for response in self.results(round_, "score", ScoreResponse)]

    def features(self, round_: int, name: str) -> list[FeatureShard]:
        """Return the feature matrices of a featurizing step."""
        made = self.results(round_, name, FeaturizeResponse)
        return [FeatureShard(features=one.features, targets=one.targets) for one in made]

    def shortlist(self, round_: int) -> ObjectRef | None:
        """Return the selection table of the candidates, where the recipe makes a shortlist."""
        if not self.has(round_, "shortlist"):
            return None
        return self.results(round_, "shortlist", SelectResponse)[0].selection

    def embedding(self, round_: int) -> ObjectRef | None:
        """Return the embedding of a round's candidates (and maybe other regions), where the recipe has one."""
        chosen = self.recipe.selection.embedding
        if round_ == 0 or chosen is None:
            return None
        if chosen.fit_on == "shortlist" or chosen.refits:
            return self.results(round_, "fit", FitResponse)[0].embedding if self.has(round_, "fit") else None
        return self.results(round_, "project", ProjectResponse)[0].embedding if self.has(round_, "project") else None

    def pool_embedding(self, round_: int) -> ObjectRef | None:
        """Return the pool's embedding from the fit, where the projection is fitted once for all rounds."""
        chosen = self.recipe.selection.embedding
        once = chosen is not None and chosen.fit_on == "pool" and not chosen.refits
        return self.results(1, "fit", FitResponse)[0].embedding if once and round_ and self.has(1, "fit") else None
