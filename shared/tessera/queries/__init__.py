"""Queries: the question about a region, who answers it, and the cost of the answer.

A format (mask, multi_class, …) defines the answer and its price; an oracle (simulated, missed_classes, …) gives it. Any
oracle answers any format, except those whose errors concern the named classes (trait ``needs_choice``).
"""

from __future__ import annotations

from tessera.queries.costs import reach, total
from tessera.queries.ledger import ByPeople, LedgerRow, Provenance, columns, event_id, people_columns
from tessera.queries.question import FORMATS, ORACLES, AnnotatedImage, Answer, FormatTraits, OracleTraits, Question, ask

__all__ = [
    "FORMATS",
    "ORACLES",
    "AnnotatedImage",
    "Answer",
    "ByPeople",
    "FormatTraits",
    "LedgerRow",
    "OracleTraits",
    "Provenance",
    "Question",
    "ask",
    "columns",
    "event_id",
    "people_columns",
    "reach",
    "total",
]
