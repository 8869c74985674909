"""The hash of a selection, for comparisons."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def sha256(image_ids: Iterable[str], region_ids: Iterable[int]) -> str:
    """Return the SHA-256, hexadecimal, over the lines "image_id TAB region_id NEWLINE" in rank order."""
    lines = "".join(f"{image}\t{region}\n" for image, region in zip(image_ids, region_ids, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()
