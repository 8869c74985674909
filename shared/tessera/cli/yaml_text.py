"""YAML of recipes and ``--set``: plain values without aliases."""

from __future__ import annotations

import copy
import functools
from typing import Any

import yaml

_KEPT = 512


class _Loader(yaml.SafeLoader):
    """Refuses aliases: with them a file of 400 bytes can repeat one list 10^9 times, and its readers hang."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem=f"alias *{event.anchor}: aliases are not read, write the value out",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)


def parse(text: str) -> Any:
    """Return the value of a YAML text; yaml.YAMLError for other text, aliases, and dates that do not exist."""
    return copy.deepcopy(_parsed(text))


@functools.lru_cache(_KEPT)
def _parsed(text: str) -> Any:
    """Return the value of a text, which the caller must not change: many recipes extend the same few bases."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
    except ValueError as error:
        # Such as the date 2026-99-99, or a number of more digits than Python converts.
        raise yaml.YAMLError(str(error)) from None
    finally:
        loader.dispose()
