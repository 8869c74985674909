"""What a server answers, as a table of endpoints, and how many calls at once; nothing of gRPC."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from tessera.errors import Unavailable


@dataclass(frozen=True)
class Unary:
    """One request, one response. ``function`` may return the response's bytes, sent as they are."""

    path: str
    """``package.Service/Method``."""
    request: type[Message]
    function: Callable[[Any], Awaitable[Message | bytes]]


@dataclass(frozen=True)
class Stream:
    """One request, many responses."""

    path: str
    request: type[Message]
    function: Callable[[Any], AsyncGenerator[Message, None]]


Endpoint = Unary | Stream


class Places:
    """Limits how many calls of a kind run at once; a further call is refused and does not wait."""

    def __init__(self, most: int, kind: str, setting: str) -> None:
        self.most = most
        self._kind, self._setting = kind, setting
        self._taken = 0

    @contextlib.contextmanager
    def taken(self, path: str) -> Iterator[None]:
        """Hold a place; Unavailable when there is none."""
        if self._taken >= self.most:
            raise Unavailable(
                f"{path}: refused, {self.most} {self._kind} are open; try again, or raise {self._setting}"
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
