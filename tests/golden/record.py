"""Write ``recipes.json`` anew: run it after a change of recipes that is meant, and say why in the commit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

RECORDED = Path(__file__).parent / "recipes.json"


def hashes() -> dict[str, dict[str, str]]:
    """Recipe → SHA-256 of its canonical JSON: of the whole, and of what a run does (all but its descriptions)."""
    from tessera.cli import extending, recipes
    from tessera.registry import canonical_json

    made = {}
    for name in extending.names():
        text = recipes.load(name).canonical()
        does = {key: value for key, value in json.loads(text).items() if key not in ("description", "paper")}
        made[name] = {"whole": _sha256(text), "does": _sha256(canonical_json(does))}
    return made


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(hashes(), indent=1) + "\n")
