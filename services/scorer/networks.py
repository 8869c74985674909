"""Columns made by auxiliary networks: each network is loaded once a job."""

from __future__ import annotations

from tessera.acquisition.interfaces import Columns, NetworkScore
from tessera.acquisition.scoring import region_scores
from tessera.errors import BadInput
from tessera.formats import weights
from tessera.formats.blobs import Blobs
from tessera.pb.scorer_pb2 import ScoreRequest


def split(columns: Columns) -> tuple[Columns, Columns]:
    """Columns made from logits or drawn, and columns made by auxiliary networks."""
    by_network = [column for column in columns if region_scores.auxiliary_of(column)]
    return [column for column in columns if not region_scores.auxiliary_of(column)], by_network


def network_scores(request: ScoreRequest, columns: Columns, blobs: Blobs) -> dict[str, NetworkScore]:
    """Column name → its score; BadInput when the request lacks the network that a column was made for."""
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
