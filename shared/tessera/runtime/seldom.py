"""Warnings that would repeat while something is away: said once, then once in a while with how often it was."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

_MOST_KEYS: Final = 1000


class Seldom:
    """Logs one warning of a kind every ``seconds``; an outage must not fill a disk with its own description."""

    def __init__(self, log: logging.Logger, seconds: float = 30.0) -> None:
        self._log, self._seconds = log, seconds
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def warning(self, event: str, about: str = "", **extra: Any) -> None:
        """Log ``event`` unless it was said about the same thing a moment ago; ``left_out`` counts what was not said."""
        now = time.monotonic()
        last, left_out = self._said.get((event, about), (-self._seconds, 0))
        if now - last < self._seconds:
            self._said[event, about] = (last, left_out + 1)
            return
        if len(self._said) >= _MOST_KEYS:
            self._said.clear()
        self._said[event, about] = (now, 0)
        more = {"left_out": left_out} if left_out else {}
        self._log.warning(event, extra={**({"about": about} if about else {}), **extra, **more})
