"""Score columns as the request writes them."""

from __future__ import annotations

from tessera.acquisition.interfaces import Column
from tessera.acquisition.scoring.region_scores import require_names
from tessera.errors import BadInput
from tessera.pb.scorer_pb2 import ScoreRequest


def columns_of(request: ScoreRequest) -> list[Column]:
    """Return the request's score columns; BadInput when there are none or two have the same name."""
    columns = [
        Column(
            name=column.column,
            score=column.score.name,
            aggregation=column.aggregation.name,
            score_parameters=column.score.parameters or "{}",
            aggregation_parameters=column.aggregation.parameters or "{}",
        )
        for column in request.columns
    ]
    if not columns:
        raise BadInput("ScoreRequest.columns: empty; ask for at least one score")
    require_names([column.name for column in columns], "ScoreRequest.columns")
    return columns
