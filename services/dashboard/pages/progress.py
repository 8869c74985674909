"""How far people are with a round, on the page of its run."""

from __future__ import annotations

from services.dashboard.layout import button
from tessera.pb import questions_pb2 as pb
from tessera.reporting.markup import Markup, el
from tessera.reporting.numbers import duration, percent


def box(found: pb.GetProgressResponse, run_id: str, key: str) -> Markup:
    """Return the part of a run's page about its round; with a form ``key`` also what its reader may do."""
    told, asked = found.progress, found.round
    settled = told.answered + told.skipped
    words = f"{settled:,} of {told.questions:,} questions are settled, {told.leased:,} are held now. "
    if told.agreement >= 0 and asked.overlap > 1:
        words += f"Agreement of annotators: {percent(told.agreement)}. "
    if told.budget_unit:
        words += f"Spent: {told.budget_spent:,.0f} of {told.budget_amount:,.0f} {told.budget_unit}. "
    rows = [
        el("li", f"{one.annotator}: {one.answered:,} answered, {one.skipped:,} skipped, {duration(one.seconds)}, "
                 f"{one.clicks:,} clicks")
        for one in told.annotators
    ]  # fmt: skip
    meter = el("progress", value=settled, max=max(told.questions, 1), aria_label="Questions that are settled")
    is_open = asked.state == pb.ROUND_STATE_OPEN
    close = button("Close the round early", f"/runs/{run_id}/close-round", key, quiet=True) if is_open else None
    links = (
        el("p", el("a", "Label", href="/label"), " · ", el("a", "Invite annotators", href="/annotators"))
        if key
        else None
    )
    title = f"Round {asked.round} waits for people" if is_open else f"Round {asked.round}: answers of people"
    return el("section", el("h2", title), el("p", words), meter, el("ul", rows) if rows else None, links, close,
              class_="card people")  # fmt: skip
