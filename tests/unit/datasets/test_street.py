"""Street scenes: the same from the same seed, demanding by numbers, and usable at any size."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from tessera.datasets.reader import read_dataset
from tessera.datasets.street.params import CLASSES, ROAD, SPLITS, VOID, StreetParams
from tessera.datasets.street.render import Frame, render_sequence
from tessera.datasets.street.write import make_street
from tessera.errors import BadInput

_PARAMS = StreetParams(height=96, width=128, frames=4)
_TINY = StreetParams(height=32, width=48, train=1, val=1, test=1, frames=2)


@lru_cache(maxsize=1)
def _frames() -> dict[tuple[str, int], list[Frame]]:
    return {
        (split, number): list(render_sequence(_PARAMS, split, number))
        for split in SPLITS
        for number in range(_PARAMS.sequences(split))
    }


def _share(split: str) -> np.ndarray:
    counts = np.zeros(256, np.int64)
    for (of, _), frames in _frames().items():
        if of == split:
            for frame in frames:
                counts += np.bincount(frame.labels.ravel(), minlength=256)
    return counts / counts.sum()


def test_classes_are_many_and_long_tailed_in_every_split() -> None:
    for split in SPLITS:
        share = _share(split)
        print(split, {info.name: round(100 * share[at], 2) for at, info in enumerate(CLASSES)}, share[VOID])
        assert len(CLASSES) >= 8
        assert (share[: len(CLASSES)] > 0.0003).all(), split
        assert share[: len(CLASSES)].min() < 0.01
        assert share.max() > 0.25
        assert 0.005 < share[VOID] < 0.08
        assert share[len(CLASSES) : VOID].sum() == 0


def test_rare_classes_are_concentrated() -> None:
    """In a pool of patches most hold no pedestrian or cyclist, and a tenth of them hold most of both."""
    train = [frame for (split, _), frames in _frames().items() if split == "train" for frame in frames]
    for name in ("pedestrian", "cyclist", "sign"):
        at = [info.name for info in CLASSES].index(name)
        patches = np.concatenate(
            [(frame.labels == at).reshape(4, 24, 4, 32).sum(axis=(1, 3)).ravel() for frame in train]
        )
        top = np.sort(patches)[::-1][: len(patches) // 10].sum() / patches.sum()
        print(name, "patches with it:", round((patches > 0).mean(), 3), "share in the top tenth:", round(top, 3))
        assert (patches > 0).mean() < 0.3
        assert top > 0.7


def test_consecutive_frames_are_alike_and_sequences_differ() -> None:
    sequences = list(_frames().values())
    agree = [np.mean(a.labels == b.labels) for frames in sequences for a, b in itertools.pairwise(frames)]
    others = [np.mean(a[0].labels == b[0].labels) for a, b in itertools.pairwise(sequences)]

    def colour(frames: list[Frame]) -> np.ndarray:
        return np.array([frame.rgb.reshape(-1, 3).mean(axis=0) for frame in frames])

    within = np.mean([np.abs(np.diff(colour(frames), axis=0)).mean() for frames in sequences])
    between = np.mean([np.abs(colour(a)[0] - colour(b)[0]).mean() for a, b in itertools.combinations(sequences, 2)])
    print("label agreement", np.mean(agree), "between sequences", np.mean(others), "colour", within, between)
    assert np.mean(agree) > 0.92
    assert np.mean(others) < 0.82
    assert between > 10 * within
    # Alike, but never the same picture.
    assert all((a.rgb != b.rgb).any() for frames in sequences for a, b in itertools.pairwise(frames))


def test_colour_alone_does_not_tell_the_class() -> None:
    """The best guess from a pixel's (coarse) colour misses far more than a third of the mean recall."""
    bins = np.zeros((16**3, len(CLASSES)))
    for frames in _frames().values():
        colour = (frames[0].rgb // 16).astype(int) @ (256, 16, 1)
        known = frames[0].labels != VOID
        np.add.at(bins, (colour[known], frames[0].labels[known]), 1)
    best = bins.argmax(axis=1)
    right = np.array([bins[best == at, at].sum() for at in range(len(CLASSES))])
    recall = right / bins.sum(axis=0)
    print("mean recall", recall.mean(), "road", recall[ROAD])
    assert recall.mean() < 0.45


@pytest.mark.parametrize("size", [(32, 32), (37, 91), (200, 64), (128, 192), (360, 480)])
def test_any_size(size: tuple[int, int]) -> None:
    params = StreetParams(height=size[0], width=size[1], frames=1)
    for number in (1, 5):
        (frame,) = render_sequence(params, "train", number)
        assert frame.rgb.shape == (*size, 3)
        assert frame.labels.shape == size
        assert len(np.unique(frame.labels)) >= 4


def test_the_layout_does_not_depend_on_the_size() -> None:
    """A frame at twice the size shows the same scene."""
    small, large = (
        next(render_sequence(StreetParams(height=96 * k, width=128 * k, frames=1), "val", 1)) for k in (1, 2)
    )
    assert np.mean(small.labels == large.labels[::2, ::2]) > 0.93


def _hash(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes_in_another_process_and_other_seed_other_bytes(tmp_path: Path) -> None:
    make_street(tmp_path / "a", _TINY)
    script = (
        "import sys; from pathlib import Path; from tessera.datasets.street.params import StreetParams;"
        "from tessera.datasets.street.write import make_street;"
        "make_street(Path(sys.argv[1]), StreetParams.model_validate_json(sys.argv[2]))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "b"), _TINY.model_dump_json()], check=True, timeout=60)
    make_street(tmp_path / "c", _TINY.model_copy(update={"seed": 1}))
    first, second, other = (_hash(tmp_path / name) for name in "abc")
    assert first == second
    assert len(first) == 2 * 3 * _TINY.frames + 1
    assert not {first[name] for name in first} & {other[name] for name in other}


def test_it_does_not_matter_which_sequences_were_rendered_before() -> None:
    alone = next(render_sequence(_TINY, "test", 0))
    list(render_sequence(_TINY, "train", 0))
    assert np.array_equal(alone.rgb, next(render_sequence(_TINY, "test", 0)).rgb)


def test_written_set_is_a_native_data_set_with_splits_by_sequence(tmp_path: Path) -> None:
    steps: list[tuple[int, int, str]] = []
    make_street(tmp_path / "s", _TINY, lambda *step: steps.append(step))
    source = read_dataset(tmp_path / "s")
    assert (source.name, source.layout, source.classes.classes) == ("street", "native", CLASSES)
    sequences = {split: {sample.sequence for sample in samples} for split, samples in source.splits.items()}
    assert set(sequences) == set(SPLITS)
    assert all(not a & b for a, b in itertools.combinations(sequences.values(), 2))
    assert [sample.time for sample in source.splits["train"]] == [0.0, 0.1]
    assert steps[-1] == (6, 6, "street")


def test_it_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(BadInput, match="not an empty folder"):
        make_street(tmp_path, _TINY)
    with pytest.raises(BadInput, match="not an empty folder"):
        make_street(tmp_path / "mine.txt", _TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupted_write_is_not_a_data_set(tmp_path: Path) -> None:
    def stop(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_street(tmp_path / "s", _TINY, stop)
    with pytest.raises(BadInput, match=r"no known layout.*classes\.json"):
        read_dataset(tmp_path / "s")
