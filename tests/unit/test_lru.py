"""Caches against a brute-force model, a list in order of use; and the one object that keeps them between jobs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.between_jobs import BetweenJobs, between_jobs
from tessera.lru import ByteLimitedLRU, CountLimitedLRU

steps = st.lists(st.tuples(st.sampled_from("pg"), st.integers(0, 5), st.integers(0, 7)), max_size=60)


@settings(deadline=None)
@given(steps)
def test_it_holds_what_a_list_in_order_of_use_would(done: list[tuple[str, int, int]]) -> None:
    held: ByteLimitedLRU[int, str] = ByteLimitedLRU(6, len)
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
    held: ByteLimitedLRU[str, bytes] = ByteLimitedLRU(10, len)
    held.put("a", b"123")
    held.clear()
    assert (held.get("a"), len(held), held.bytes) == (None, 0, 0)


def test_by_count_the_least_recently_used_leaves() -> None:
    held: CountLimitedLRU[str, int] = CountLimitedLRU(2)
    for key in "ab":
        held.put(key, ord(key))
    assert held.get("a") == ord("a")
    held.put("c", 3)
    assert (held.get("a"), held.get("b"), held.get("c"), len(held)) == (ord("a"), None, 3, 2)


def test_what_is_kept_between_jobs_is_forgotten_together_and_has_one_name_each() -> None:
    made = BetweenJobs()
    caches = [made.keep(name, CountLimitedLRU[str, int](3)) for name in ("b", "a")]
    for cache in caches:
        cache.put("x", 1)
    assert made.names() == ["a", "b"]
    made.clear()
    assert [len(cache) for cache in caches] == [0, 0]
    with pytest.raises(ValueError, match="a cache of a is kept already"):
        made.keep("a", CountLimitedLRU[str, int](1))


def test_every_cache_of_the_product_is_kept_by_the_one_object() -> None:
    import tessera.formats.predictors
    import tessera.formats.training_data
    import tessera.runtime.inputs
    import tessera.training.frozen  # noqa: F401  # imported for what they keep

    assert set(between_jobs.names()) >= {
        "answered crops",
        "backbone maps",
        "decoded images",
        "frozen maps of training",
        "parsed manifests",
        "predictors",
        "region maps",
    }
