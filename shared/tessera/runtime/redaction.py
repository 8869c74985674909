"""Clean text before it is shown: no secrets, and no characters that control a terminal.

The one place for both rules. Logs (`runtime.telemetry`) and the command line (`cli.output`) apply it to every line.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "***"
# Up to the last @ of the word: a password may hold an @ itself. A path may hold one as well, but hiding too much does
# no harm.
_USER_INFO: Final = re.compile(r"(?<=://)(?<!file://)[^\s\"]*(?=@)")
_SIGNATURE: Final = re.compile(r"(?i)(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s\"']+")


def redacted(text: str) -> str:
    """Hide user names and passwords in addresses, and the signatures of signed ones."""
    return _SIGNATURE.sub(rf"\1{HIDDEN}", _USER_INFO.sub(HIDDEN, text))


def has_secret(url: str) -> bool:
    """Return whether an address carries a user name, password or token."""
    return redacted(url) != url


def without_secret(url: str) -> str:
    """Return an address without user name and password, to be stored and compared."""
    return _USER_INFO.sub("", url).replace("://@", "://")


def full_address(url: str) -> str:
    """Return a NATS address with scheme: ``host:4222`` becomes ``nats://host:4222``, in which `redacted` works."""
    return url if "://" in url else f"nats://{url}"


def with_secret(kept: str, *candidates: str | None) -> str:
    """Return the first candidate that names the server of ``kept`` (an address without its secret), else ``kept``."""
    for each in candidates:
        if each and without_secret(full_address(each)) == without_secret(full_address(kept)):
            return full_address(each)
    return kept


def printable(text: str) -> str:
    """Escape every character that drives a terminal or hides text; newlines and tabs stay."""
    return "".join(each if each.isprintable() or each in "\n\t" else _escaped(each) for each in text)


def plain(text: str) -> str:
    """Escape as `printable` does, and newlines and tabs too, so that the text stays on one line."""
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def one_line(text: str) -> str:
    """Escape as `printable` does, with every run of white space as one space."""
    return printable(" ".join(text.split()))


def shown(text: str) -> str:
    """Return the text as the terminal gets it: without secrets and control characters."""
    return printable(redacted(text))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
