"""The steps of a round that people answer, before its answers become labels: ask (a job), collect (the run waits).

The request of step collect is never sent to a worker. Its job key names the round of questions, and its result is made
when the last answer is there.
"""

from __future__ import annotations

from typing import Final

from tessera.loop.budget import asked_until_spent
from tessera.loop.embedding import Made
from tessera.loop.facts import Facts
from tessera.loop.recipe import Recipe
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.questions_pb2 import CollectRequest, CollectResponse
from tessera.pb.scorer_pb2 import AskRequest, AskResponse
from tessera.queries import ORACLES
from tessera.queries.oracles.human import HumanParams

STEPS: Final = ("ask", "collect")
COLLECTS: Final = ("collect", "val_collect")
"""Steps at which a run waits: for answers to its selection, and for its evaluation set."""
COLLECT: Final = "Collect"
"""Name of the step's method: that of its messages, CollectRequest and CollectResponse."""
ALGORITHM: Final = "collect/1"


def asked(recipe: Recipe) -> bool:
    """Return whether people answer."""
    return ORACLES.entry(recipe.oracle.name).traits.by_people


def params(recipe: Recipe) -> HumanParams:
    """Return the parameters of the round that people answer."""
    found = ORACLES.parameters(recipe.oracle.name, dict(recipe.oracle.parameters))
    assert isinstance(found, HumanParams)  # noqa: S101  # the one oracle by people
    return found


def ask(facts: Facts, round_: int) -> Made:
    """Draw up the questions; from round 1 on with the prediction of the model that chose them."""
    human = params(facts.recipe)
    return "Ask", [
        AskRequest(
            context=facts.context(round_, "ask"),
            manifest=facts.manifest(round_),
            shards=facts.shards(round_),
            selection=facts.selected(round_).selection,
            query=facts.recipe.query.message(),
            seed=facts.seed(round_, "label"),
            model=facts.trained(round_ - 1).model if human.prediction and round_ else None,
            superpixels=human.superpixels,
        )
    ]


def collect(facts: Facts, round_: int) -> Made:
    """Ask people; the budget is the round's, where prices come with the answers."""
    (made,) = facts.results(round_, "ask", AskResponse)
    return COLLECT, [
        CollectRequest(
            context=facts.context(round_, "collect"),
            questions=made.questions,
            manifest=facts.manifest(round_),
            query=facts.recipe.query.message(),
            oracle=facts.recipe.oracle.message(),
            budget=facts.allowance(round_) if asked_until_spent(facts.recipe) else None,
        )
    ]


def answers(facts: Facts, round_: int) -> ObjectRef:
    """Return the table of what people answered."""
    (said,) = facts.results(round_, "collect", CollectResponse)
    return said.answers
