"""Queries: what is asked about a region, who answers, and what the answer costs.

A format (mask, …) says what an answer is and prices it; an oracle (simulated, …) says who answers. Any oracle answers
any format.
"""

from __future__ import annotations

from tessera.queries.costs import total
from tessera.queries.ledger import LedgerRow, Provenance, columns, event_id
from tessera.queries.question import FORMATS, ORACLES, Answer, Question, ask

__all__ = [
    "FORMATS",
    "ORACLES",
    "Answer",
    "LedgerRow",
    "Provenance",
    "Question",
    "ask",
    "columns",
    "event_id",
    "total",
]
