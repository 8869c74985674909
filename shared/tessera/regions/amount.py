"""Number of superpixels per image: by count, or by their size."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from tessera.registry import Params


class CountOrSize(Params):
    """One of ``count`` and ``size`` in pixels; size 32 where neither is given."""

    count: int | None = Field(default=None, ge=1, le=65_536)
    size: int | None = Field(default=None, ge=2, le=4096)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("count") is None and given.get("size") is None:
            return {**given, "size": 32}
        return given

    @model_validator(mode="after")
    def _one(self) -> CountOrSize:
        if self.count is not None and self.size is not None:
            raise ValueError("give either count or size, not both")
        return self
