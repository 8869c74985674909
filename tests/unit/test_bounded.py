"""The bounded memory against a brute-force model: a list in order of use."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.bounded import Bounded

steps = st.lists(st.tuples(st.sampled_from("pg"), st.integers(0, 5), st.integers(0, 7)), max_size=60)


@settings(deadline=None)
@given(steps)
def test_it_holds_what_a_list_in_order_of_use_would(done: list[tuple[str, int, int]]) -> None:
    held: Bounded[int, str] = Bounded(6, len)
    model: list[tuple[int, str]] = []
    for action, key, size in done:
        found = [pair for pair in model if pair[0] == key]
        if action == "g":
            assert held.get(key) == (found[0][1] if found else None)
            model = [pair for pair in model if pair[0] != key] + found
        else:
            value = "x" * size
            held.put(key, value)
            model = [pair for pair in model if pair[0] != key] + ([(key, value)] if size <= 6 else [])
            while sum(len(text) for _, text in model) > 6:
                model.pop(0)
        assert held.bytes == sum(len(text) for _, text in model)
        assert len(held) == len(model)


def test_clear_forgets_all() -> None:
    held: Bounded[str, bytes] = Bounded(10, len)
    held.put("a", b"123")
    held.clear()
    assert (held.get("a"), len(held), held.bytes) == (None, 0, 0)
