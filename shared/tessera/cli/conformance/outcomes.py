"""How a check can end other than by passing."""

from __future__ import annotations


class Broken(Exception):
    """The rule is broken; the text names the finding."""


class NotApplicable(Exception):
    """The rule does not apply to this method; the text says why."""
