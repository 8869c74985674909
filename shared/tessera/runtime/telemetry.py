"""Logs: one JSON object per line in services, plain lines on a terminal; no secrets, and no forged lines."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, TextIO

from tessera.runtime import tracing
from tessera.runtime.redaction import HIDDEN, plain, redacted
from tessera.runtime.settings import Settings

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRET_NAME: Final = re.compile(r"secret|password|token|credential|authorization|access_key|api_key", re.IGNORECASE)
_LONGEST: Final = 4000
_SHORTEST_SECRET: Final = 4


class Redactor:
    """Hides secrets in text: the values it was given, user names in addresses, signed parameters."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Very short values are no secrets, and hiding them would blank out half of every line.
        values = sorted({s for s in secrets if len(s) >= _SHORTEST_SECRET}, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, values))) if values else None

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        if self._values is not None:
            text = self._values.sub(HIDDEN, text)
        return redacted(text)

    def value(self, name: str, value: Any) -> Any:
        """Return a log field without secrets; numbers and truth values are unchanged."""
        if _SECRET_NAME.search(name):
            return HIDDEN
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.text(str(value))[:_LONGEST]


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, service, logger, event, the record's ``extra`` fields, what is bound
    (run, job_key), and the trace's id where this process traces.
    """

    def __init__(self, service: str, redactor: Redactor) -> None:
        super().__init__()
        self._service = service
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; JSON escapes newlines and control characters."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "event": self._redactor.text(record.getMessage())[:_LONGEST],
        }
        for name, value in {**_bound.get(), **fields(record)}.items():
            line.setdefault(name, self._redactor.value(name, value))
        if trace := tracing.trace_id():
            line["trace_id"] = trace
        if record.exc_info and record.exc_info[1] is not None:
            trace = "".join(traceback.format_exception(record.exc_info[1]))
            line["exception"] = self._redactor.text(trace)[-_LONGEST:]
        return json.dumps(line, ensure_ascii=True, allow_nan=True)


class PlainFormatter(logging.Formatter):
    """``level: event (name=value, …)`` for a person; never a traceback unless the level is debug."""

    def __init__(self, redactor: Redactor, *, traces: bool = False) -> None:
        super().__init__()
        self._redactor = redactor
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        """Return one line (more for the traces of a debug log)."""
        extra = {name: self._redactor.value(name, value) for name, value in fields(record).items()}
        extra.pop("traceback", None)
        line = f"{record.levelname.lower()}: {self._redactor.text(record.getMessage())}"
        if extra:
            line += " (" + ", ".join(f"{name}={value}" for name, value in extra.items()) + ")"
        line = plain(line[:_LONGEST])
        if self._traces and record.exc_info and record.exc_info[1] is not None:
            line += "\n" + self._redactor.text("".join(traceback.format_exception(record.exc_info[1])))
        return line


# What log lines are about in this task, and in those that it starts.
_bound: ContextVar[Mapping[str, Any]] = ContextVar("bound", default=MappingProxyType({}))


def bind(**about: str) -> None:
    """Say in every log line of this task from now on what it is about; empty values are left out."""
    _bound.set({**_bound.get(), **{name: value for name, value in about.items() if value}})


@contextlib.contextmanager
def bound(**about: str) -> Iterator[None]:
    """Do as ``bind`` for a block, and forget at its end what was bound in it."""
    token = _bound.set({**_bound.get(), **about})
    try:
        yield
    finally:
        _bound.reset(token)


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the caller passed as ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def configure(service: str, settings: Settings, stream: TextIO | None = None) -> None:
    """Send all logs to ``stream`` (standard error) in the format of the settings, replacing earlier handlers."""
    redactor = Redactor(settings.secrets())
    handler = logging.StreamHandler(stream or sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter(service, redactor))
    else:
        handler.setFormatter(PlainFormatter(redactor, traces=settings.log_level == "debug"))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    # Their info lines concern their internals.
    for chatty in ("nats", "urllib3", "asyncio", "numba", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It warns at every try while the collector is away, and then says what was lost.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
