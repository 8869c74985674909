"""``tessera conformance``: the examination that the options describe."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.errors import BadInput
from tessera.runtime.redaction import with_secret

if TYPE_CHECKING:
    from tessera.cli.conformance.examine import Report


def examine(
    service: str,
    target: str | None,
    nats: str | None,
    store: str | None,
    out: Path | None,
    algorithms: Sequence[str],
    settings: Sequence[str],
    only: Sequence[str],
    seconds: float,
) -> Report:
    """Examine the service at ``target``, or that of the stack in ``out``; BadInput names what is missing."""
    from tessera.cli.conformance import examine as examining
    from tessera.cli.recipes import overrides
    from tessera.cli.stack import stack_facts
    from tessera.runtime.settings import load

    facts = stack_facts(out)
    if out is not None and not facts:
        raise BadInput(f"--out {out}: holds no stack; give the --out folder of tessera up")
    known = os.environ.get("TESSERA_NATS_URL")
    where = target or facts.get("coordinator")
    if not where:
        raise BadInput("conformance: give --target host:port, or --out with the folder of tessera up")
    url = store or facts.get("store") or os.environ.get("TESSERA_STORE")
    if not url:
        raise BadInput("conformance: give --store, the one that the service uses (or TESSERA_STORE)")
    subject = examining.Subject(
        service=service,
        target=where,
        store=url,
        nats=nats or (with_secret(facts["nats"], known) if facts else known),
        token=facts.get("token") if nats is None else None,
        versions={**load().algorithms, **dict(map(version, algorithms))},
        settings=list(overrides(settings)),
        seconds=seconds,
        only=only,
    )
    return asyncio.run(examining.examine(subject))


def version(text: str) -> tuple[str, str]:
    """Return method and version of ``METHOD=VERSION``; BadInput for any other form."""
    name, _, version = text.partition("=")
    if not name or not version:
        raise BadInput(f"--algorithm {text!r}: write METHOD=VERSION, for example Select=plain/1")
    return name, version
