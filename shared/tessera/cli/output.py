"""What the command line says: results on stdout, progress and errors on stderr, one line an error, no tracebacks."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from tessera.errors import TesseraError

F = TypeVar("F", bound=Callable[..., Any])
FAILED, INTERRUPTED = 3, 130
RESUME_HINT: list[str] = []
"""The command that takes the work up again, once there is something to take up."""


def say(text: str = "") -> None:
    """One line of result on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """One line of progress on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def error_line(text: str) -> None:
    """One error on stderr, red on a terminal."""
    red = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    note(f"\x1b[31merror:\x1b[0m {text}" if red else f"error: {text}")


def printable(text: str) -> str:
    """The text without control characters, so that a name from a file cannot drive the terminal."""
    return "".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in text)


def guarded(function: F) -> F:
    """Turn failures of a command into one clear line and an exit code (2 bad input, 3 failed, 130 interrupted)."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TesseraError as error:
            error_line(printable(str(error)))
            if RESUME_HINT and error.exit_code == FAILED:
                note(f"when that is mended, continue with: {RESUME_HINT[-1]}")
            raise SystemExit(error.exit_code) from None
        except KeyboardInterrupt:
            hint = f"; continue with: {RESUME_HINT[-1]}" if RESUME_HINT else ""
            note(f"\ninterrupted{hint}")
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of our output (head, less) left; nothing more can be said.
            sys.stderr.close()
            raise SystemExit(0) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            error_line(printable(f"{where}{error.strerror or error}; check the path, its permissions and free space"))
            raise SystemExit(3) from None
        except Exception as error:
            if os.environ.get("TESSERA_TRACEBACK"):
                raise
            error_line(printable(f"internal: {type(error).__name__}: {error}; set TESSERA_TRACEBACK=1 to see where"))
            raise SystemExit(3) from None

    return run  # type: ignore[return-value]  # same signature, by functools.wraps
