"""Label Studio: its labelling configuration, its tasks with predictions, and its export as JSON."""

from __future__ import annotations

TOOL = "label-studio/1"
"""Name and version of this adapter, in every answer that it brings."""
