"""Inputs of a selection: the manifest where times matter, constraints, labelled regions for distances."""

from __future__ import annotations

import json

import pytest

from tessera.errors import BadInput
from tessera.loop import plan
from tessera.pb.selector_pb2 import SelectResponse
from unit.loop.simulator import World, load, ref, spec_of, walk

APART = [{"name": "min_seconds", "seconds": 2}]
ENTROPY = [{"name": "entropy", "aggregate": "mean"}]


def test_the_manifest_goes_only_where_times_are_looked_at():
    plain = walk(spec_of(load("street_entropy", budget__rounds=1)))
    assert not any(request.HasField("manifest") for r in (0, 1) for request in plain.requests(r, "select"))
    for changes in (
        {"selection__stages": [{"name": "uniform_in_time"}], "score": []},
        {"selection__stages": [{"name": "uniform_every_n", "n": 5}, {"name": "top", "by": "entropy_mean"}]},
        {"selection__constraints": APART},
    ):
        walked = walk(spec_of(load("street_entropy", budget__rounds=1, **changes)))
        assert not walked.requests(0, "select")[0].HasField("manifest")
        assert walked.requests(1, "select")[0].manifest == ref("manifest", 40)
    first = {"selection__initial": [{"name": "uniform_in_time", "count": 32}]}
    walked = walk(spec_of(load("street_entropy", budget__rounds=1, **first)))
    assert walked.requests(0, "select")[0].HasField("manifest")
    assert not walked.requests(1, "select")[0].HasField("manifest")
    narrowed = {
        "selection__shortlist": [{"name": "uniform_every_n"}, {"name": "top", "by": "entropy_mean", "count": 50}]
    }
    walked = walk(spec_of(load("street_meal", budget__rounds=1, **narrowed)))
    assert walked.requests(1, "shortlist")[0].HasField("manifest")
    assert not walked.requests(1, "select")[0].HasField("manifest")


def test_a_share_of_the_pool_is_a_first_set_too():
    first = [{"name": "random", "share": 0.99}]
    refused = walk(spec_of(load("street_random", selection__initial=first)))
    assert isinstance(refused.end, plan.Fail)
    assert "633 regions first and 4 rounds of 32 are 761 regions" in refused.end.message


def test_constraints_bind_the_rounds_and_not_the_first_set():
    walked = walk(spec_of(load("street_entropy", budget__rounds=1, selection__constraints=APART)))
    assert not walked.requests(0, "select")[0].constraints
    (one,) = walked.requests(1, "select")[0].constraints
    assert one.name == "min_seconds"
    assert json.loads(one.parameters) == {"seconds": 2, "against": "round"}
    with pytest.raises(BadInput, match=r"selection\.constraints: unknown name .min_second."):
        load("street_entropy", selection__constraints=[{"name": "min_second"}])


class Exhausted(World):
    """A world in which the second round finds nothing that its constraint allows."""

    def _select(self, request):
        made = super()._select(request)
        if len(request.ledgers) < 2:
            return made
        return SelectResponse(selection=self._table("selection", []), selection_sha256="0", notes=["min_seconds: 0"])


def test_a_constraint_that_allows_nothing_more_ends_the_run():
    walked = walk(spec_of(load("street_entropy", selection__constraints=APART)), Exhausted())
    assert walked.end == plan.Finish("pool_exhausted")
    assert len(walked.chosen()) == 2
    # Without a constraint it is a fault.
    walked = walk(spec_of(load("street_entropy")), Exhausted())
    assert isinstance(walked.end, plan.Fail)


def center(**changes):
    embedding = {"features": {"name": "backbone"}, "projection": {"name": "none"}, "fit_on": "pool"}
    return load(
        "street_meal",
        budget__rounds=2,
        selection__stages=[{"name": "k_center"}],
        **{"selection__embedding": embedding, **changes},
    )


def test_labelled_regions_are_described_beside_a_shortlist():
    walked = walk(spec_of(center()))
    for round_ in (1, 2):
        targets = [request.targets for request in walked.requests(round_, "candidates")]
        ledgers = list(walked.requests(round_, "select")[0].ledgers)
        assert targets[1:] == ledgers
        assert len(ledgers) == round_
        assert len(walked.requests(round_, "project")[0].shards) == 1 + round_
    # Stages that look at the candidates alone cost nothing more.
    assert len(walk(spec_of(load("street_meal", budget__rounds=1))).requests(1, "candidates")) == 1


def test_without_a_shortlist_everything_is_described_anyway():
    walked = walk(spec_of(center(selection__shortlist=[])))
    regions = [shard.regions for shard in walked.requests(1, "select")[0].shards]
    assert [request.targets for request in walked.requests(2, "candidates")] == regions


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"name": "joint", "by": "entropy_mean", "discriminator": "d_mean"}], "discriminator: 'd_mean' is not a req"),
        ([{"name": "joint", "by": "e", "discriminator": "entropy_mean"}], "by: 'e' is not a requested score column"),
        ([{"name": "round_robin", "by": "entropy_mean"}], "classes: 'predicted_majority' is not a requested score"),
        ([{"name": "knn"}], "selection.embedding: missing; stage knn chooses by distance in it"),
        ([{"name": "kmeans", "by": "entropy_mean"}], "selection.embedding: missing; stage kmeans"),
    ],
)
def test_what_a_stage_lacks_is_named(stages, message):
    with pytest.raises(BadInput) as caught:
        load("street_entropy", selection__stages=stages)
    assert message in str(caught.value)


def test_what_the_selector_says_is_in_the_runs_view():
    from tessera.loop.summary import summary
    from tessera.loop.view import view

    class Talking(World):
        def _select(self, request):
            made = super()._select(request)
            made.notes.append(f"round with {len(request.ledgers)} ledgers")
            return made

    made = view(walk(spec_of(load("street_entropy", budget__rounds=1)), Talking()).state)
    said = [["round with 0 ledgers"], ["round with 1 ledgers"]]
    assert [list(one.notes) for one in made.rounds] == said
    assert [one["notes"] for one in summary(made, [set(), set()], {})["rounds"]] == said
