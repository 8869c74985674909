"""Print results on stdout, progress and errors on stderr: one line per error, no tracebacks."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from tessera.errors import TesseraError
from tessera.runtime.redaction import shown

F = TypeVar("F", bound=Callable[..., Any])
FAILED, INTERRUPTED = 3, 130
RESUME_HINT: list[str] = []
"""The command that continues the work, once it can be continued."""


def say(text: str = "") -> None:
    """Write one line of result to stdout, without secrets and control characters (`redaction.shown`)."""
    sys.stdout.write(shown(text) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Write one line of progress to stderr, without secrets and control characters."""
    _stderr(shown(text))


def error_line(text: str) -> None:
    """Write one error line to stderr, red on a terminal."""
    red = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    _stderr(f"\x1b[31merror:\x1b[0m {shown(text)}" if red else f"error: {shown(text)}")


def _stderr(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def guarded(function: F) -> F:
    """Turn failures of a command into one clear line and an exit code (2 bad input, 3 failed, 130 interrupted)."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        # Logs of libraries (the NATS client: one line per try) are dropped: the command's error says it once. Services
        # configure their own logs.
        if not logging.getLogger().handlers:
            logging.getLogger().addHandler(logging.NullHandler())
        try:
            return function(*args, **kwargs)
        except TesseraError as error:
            error_line(str(error))
            if RESUME_HINT and error.exit_code == FAILED:
                note(f"when this is fixed, continue with: {RESUME_HINT[-1]}")
            raise SystemExit(error.exit_code) from None
        except KeyboardInterrupt:
            hint = f"; continue with: {RESUME_HINT[-1]}" if RESUME_HINT else ""
            note(f"\ninterrupted{hint}")
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of our output (head, less) has ended; nothing more can be printed.
            sys.stderr.close()
            raise SystemExit(0) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            error_line(f"{where}{error.strerror or error}; check the path, its permissions and free space")
            raise SystemExit(3) from None
        except Exception as error:
            if os.environ.get("TESSERA_TRACEBACK"):
                raise
            raise SystemExit(_unexpected(error)) from None

    return run  # type: ignore[return-value]  # same signature, by functools.wraps


def _unexpected(error: Exception) -> int:
    """Say what nobody foresaw, in one line, and return the exit code."""
    if isinstance(error, ModuleNotFoundError) and error.name and "." not in error.name:
        # As in the image of the client, which computes nothing by itself.
        error_line(f"this command needs the package {error.name}; install it: pip install 'tessera-al[cli]'")
        return 2
    error_line(f"internal: {type(error).__name__}: {error}; set TESSERA_TRACEBACK=1 to see where")
    return 3
