"""Rules of a selection, whatever its strategy."""

from __future__ import annotations

import json
from typing import Any

from tessera.cli.conformance.bench import Bench
from tessera.cli.conformance.checks import GRPC, check, expect
from tessera.cli.conformance.grpc_checks import answered, refused
from tessera.cli.conformance.outcomes import NotApplicable
from tessera.cli.conformance.samples import Here, SampleRequest
from tessera.errors import BadInput
from tessera.formats import schemas, selections, tables
from tessera.pb.selector_pb2 import SelectResponse

SELECTOR = "selector"


@check(
    "selection",
    GRPC,
    "the table has the columns of a selection, ranks from 0, distinct regions, and the count and hash that are named",
    "write rank, image_id, region_id, score, cluster; selection_sha256 is of the lines image_id TAB region_id NEWLINE",
    service=SELECTOR,
)
async def _selection(bench: Bench, sample: SampleRequest) -> str:
    response = SelectResponse.FromString(answered(bench, sample))
    try:
        table = tables.read(schemas.SELECTION, await bench.store.get(response.selection), "selection")
    except BadInput as error:
        expect(False, str(error))
    keys = _keys(table)
    expect(table["rank"].tolist() == list(range(len(keys))), "ranks are not 0, 1, 2, …")
    expect(len(set(keys)) == len(keys), "a region is chosen twice")
    expect(response.count == len(keys), f"count is {response.count}, the table has {len(keys)} rows")
    digest = selections.sha256(*zip(*keys, strict=True)) if keys else selections.sha256((), ())
    expect(response.selection_sha256 == digest, f"selection_sha256 is {response.selection_sha256}, not {digest}")
    return f"{len(keys)} regions"


@check(
    "choice",
    GRPC,
    "only regions of the pool are chosen, none that a ledger names, and no more than the budget pays for",
    "take every region that is in a ledger out of the pool first, and cut the ranking at the budget",
    service=SELECTOR,
)
async def _choice(bench: Bench, sample: SampleRequest) -> str:
    request: Any = sample.request
    response = SelectResponse.FromString(answered(bench, sample))
    chosen = _keys(tables.read(schemas.SELECTION, await bench.store.get(response.selection), "selection"))
    pool = [key for shard in request.shards for key in await _stored(bench, schemas.REGIONS, shard.regions)]
    labelled = {key for ledger in request.ledgers for key in await _stored(bench, schemas.LEDGER, ledger)}
    strange = set(chosen) - set(pool)
    expect(not strange, f"{len(strange)} regions are not in the pool")
    again = set(chosen) & labelled
    expect(not again, f"{len(again)} regions are labelled already")
    if request.budget.unit == "regions":
        expect(len(chosen) <= request.budget.amount, f"{len(chosen)} regions for a budget of {request.budget.amount:g}")
    return f"{len(chosen)} of {len(pool)} regions, {len(labelled)} labelled"


@check(
    "shards",
    GRPC,
    "the order of the shards does not matter",
    "sort the pool by image_id and region_id before you choose; break ties by them",
    service=SELECTOR,
)
async def _shards(bench: Bench, sample: SampleRequest) -> str:
    first, request = SelectResponse.FromString(answered(bench, sample)), sample.copy()
    if len(request.shards) < 2:
        raise NotApplicable("the request has one shard")
    shards, scores = list(request.shards)[::-1], list(request.scores)[::-1]
    del request.shards[:], request.scores[:]
    request.shards.extend(shards)
    request.scores.extend(scores)
    again = SelectResponse.FromString(await bench.answer(sample, request))
    expect(again.selection_sha256 == first.selection_sha256, "the shards in another order give another selection")
    return "the same selection"


@check(
    "budget",
    GRPC,
    "a budget that exceeds what is left is refused: INVALID_ARGUMENT, tessera-reason bad_input",
    "compare the budget with the unlabelled regions, and name both numbers",
    service=SELECTOR,
)
async def _budget(bench: Bench, sample: SampleRequest) -> str:
    request = sample.copy()
    if request.budget.unit != "regions":
        raise NotApplicable(f"the budget is in {request.budget.unit}")
    request.budget.amount = 1e6
    return await refused(bench, sample, request, "INVALID_ARGUMENT", "bad_input")


@check(
    "meaning",
    GRPC,
    "a stage of a name that Tessera has chooses what Tessera's chooses, with its parameter count, too",
    "follow the stage's docstring in acquisition/selection/stages; a strategy of your own is a version of your own",
    must=False,
    service=SELECTOR,
)
async def _meaning(bench: Bench, sample: SampleRequest) -> str:
    answered(bench, sample)
    for count in (None, 3):
        request = sample.copy()
        given = json.loads(request.stages[-1].parameters)
        if count is not None and "count" in given:
            request.stages[-1].parameters = json.dumps({**given, "count": count}, sort_keys=True, separators=(",", ":"))
        ours = SelectResponse.FromString(await Here(bench.store).perform(sample.method, request))
        theirs = SelectResponse.FromString(await bench.answer(sample, request))
        same = ours.selection_sha256 == theirs.selection_sha256
        expect(same, f"count {count}: {theirs.count} regions; Tessera chooses {ours.count}, and others")
    return "the same regions"


def _keys(table: dict[str, Any]) -> list[tuple[str, int]]:
    return list(zip(map(str, table["image_id"]), map(int, table["region_id"]), strict=True))


async def _stored(bench: Bench, schema: Any, ref: Any) -> list[tuple[str, int]]:
    return _keys(tables.read(schema, await bench.store.get(ref), ref.key, ("image_id", "region_id")))
