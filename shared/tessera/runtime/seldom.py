"""Log a repeating warning once, then at intervals with the number of repetitions."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

_MOST_KEYS: Final = 1000


class Seldom:
    """Logs one warning of a kind every ``seconds``: an outage must not fill the disk with log lines."""

    def __init__(self, log: logging.Logger, seconds: float = 30.0) -> None:
        self._log, self._seconds = log, seconds
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def warning(self, event: str, about: str = "", **extra: Any) -> None:
        """Log ``event`` unless it was logged about the same thing within ``seconds``; ``left_out`` counts others."""
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
