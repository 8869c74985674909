"""Score columns by auxiliary networks, each loaded once per job."""

from __future__ import annotations

from tessera.acquisition.interfaces import Columns, NetworkScore
from tessera.acquisition.scoring import region_scores
from tessera.errors import BadInput
from tessera.formats import weights
from tessera.formats.blobs import Blobs
from tessera.pb.scorer_pb2 import ScoreRequest


def split(columns: Columns) -> tuple[Columns, Columns]:
    """Split columns into those made from logits or drawn, and those made by auxiliary networks."""
    by_network = [column for column in columns if region_scores.auxiliary_of(column)]
    return [column for column in columns if not region_scores.auxiliary_of(column)], by_network


def network_scores(request: ScoreRequest, columns: Columns, blobs: Blobs) -> dict[str, NetworkScore]:
    """Return the score function by column name; BadInput when the request lacks the network of a column."""
    found: dict[str, NetworkScore] = {}
    for column in columns:
        wanted = (region_scores.auxiliary_of(column), column.score_parameters)
        weight = next(
            (
                one.weights
                for one in request.auxiliary
                if (one.auxiliary.name, one.auxiliary.parameters or "{}") == wanted
            ),
            None,
        )
        if weight is None:
            have = ", ".join(f"{one.auxiliary.name} {one.auxiliary.parameters}" for one in request.auxiliary) or "none"
            raise BadInput(
                f"ScoreRequest.auxiliary: column {column.name} needs network {wanted[0]} with parameters {wanted[1]} "
                f"and the request has {have}; train it by Discriminate"
            )
        found[column.name] = region_scores.network_score(
            column, weights.load(blobs.read(weight), f"weights {weight.key}")
        )
    return found
