"""Functions that layouts share: the images of a cut-off test split, and lists."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.datasets.listing import hold_out, listed, name_of
from tessera.datasets.samples import LabelledImage, Problems
from tessera.errors import BadInput

HERE = Path("set")


def _sample(image_id: str, sequence: str = "", time: float = 0.0) -> LabelledImage:
    return LabelledImage(image_id, "val", HERE / image_id, HERE / image_id, sequence, time)


def _split(samples: list[LabelledImage]) -> tuple[set[str], set[str]]:
    made = hold_out(HERE, {"train": (), "val": tuple(samples)}, lambda sample: sample.sequence or sample.image_id)
    assert {sample.split for sample in made["test"]} <= {"test"}
    assert {sample.split for sample in made["val"]} <= {"val"}
    return {sample.image_id for sample in made["val"]}, {sample.image_id for sample in made["test"]}


def test_cityscapes_sizes() -> None:
    cities = {"frankfurt": 267, "lindau": 59, "munster": 174}
    val, test = _split([_sample(f"{city}{at}", city) for city, count in cities.items() for at in range(count)])
    assert (len(val), len(test)) == (233, 267)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_groups_stay_whole_and_sides_are_alike(sizes: list[int], random: object) -> None:
    samples = [_sample(f"g{group}i{at}", f"g{group}", at) for group, size in enumerate(sizes) for at in range(size)]
    if len(samples) < 2:
        with pytest.raises(BadInput, match="1 in val"):
            _split(samples)
        return
    val, test = _split(samples)
    assert val | test == {sample.image_id for sample in samples}
    assert not val & test
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert _split(shuffled) == (val, test)
    if len(sizes) > 1:
        assert not {name.split("i")[0] for name in val} & {name.split("i")[0] for name in test}
        assert abs(len(val) - len(test)) <= max(sizes)
    else:
        assert len(val) - len(test) in (0, 1)


@pytest.mark.parametrize(
    ("line", "name"),
    [("a", "a"), ("x/a.jpg", "a"), (r"x\a.PNG", "a"), ("a.b", "a.b"), ("2007_000032", "2007_000032")],
)
def test_names_of_lines(line: str, name: str) -> None:
    assert name_of(line) == name


def test_a_list_of_pairs(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("/i/a.jpg /l/a.png\n\n/i/b.jpg /l/b.png\n")
    problems = Problems("x")
    images = {"a": HERE / "a.jpg", "b": HERE / "b.jpg"}
    assert list(listed(tmp_path / "train.txt", images, HERE, problems)) == ["a", "b"]
    assert problems.found == []
