"""frames: Pool-Xf of "Best Practices in Active Learning for Semantic Segmentation" (section 3).

Random images and the X frames that follow each of them. The more follow, the more redundant the pool at equal size:
the study uses X = 0, 5, 11 and 21 with 2,640 images of A2D2. Its published lists draw runs that may overlap, so some
images are listed twice (5f: 2,400 different ones among 2,640 lines); here every image is in the pool once.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tessera.datasets.pools import POOLS, PoolImage, kept, others, train_of
from tessera.datasets.samples import LabelledImage, Source
from tessera.errors import BadInput
from tessera.registry import Params


class Frames(Params):
    """``images`` in the pool's train split, in runs of 1 + ``following`` that share no frame.

    ``gap``: seconds at most between neighbours of a run; without it, the next annotated frame of the video follows.
    """

    images: int = Field(ge=1)
    following: int = Field(default=5, ge=0)
    gap: float | None = Field(default=None, gt=0)


@POOLS.register("frames", Frames)
def choose(source: Source, params: Frames, seed: int) -> tuple[PoolImage, ...]:
    """Draw runs of consecutive training frames at random; val and test stay.

    The first run is drawn uniformly among all; each further one falls on a video with a probability proportional to the
    room left there. Within a video each way of placing its runs is equally likely, so any number that fits is found.
    BadInput when ``images`` is not a multiple of the length of a run, when there are no videos to follow, and when the
    videos have no room for so many runs.
    """
    length = params.following + 1
    if params.images % length:
        lower = params.images - params.images % length
        raise BadInput(
            f"pool frames: images={params.images} is not a multiple of 1 + following={params.following}; use "
            f"{lower or length} or {lower + length}"
        )
    videos = _videos(train_of(source), length, params.gap)
    if not videos:
        raise BadInput(
            f"pool frames: no training image of {source.name} is followed by {params.following} frames of its video; "
            "use a smaller following, or a data set whose names carry sequence and time"
        )
    wanted, room = params.images // length, sum(len(video) // length for video in videos)
    if wanted > room:
        raise BadInput(
            f"pool frames: {source.name} has room for {room} of {wanted} runs of {length} frames; use "
            f"images={room * length} or less, or a smaller following"
        )
    rng = np.random.default_rng(seed)
    chosen = [
        sample
        for video, runs in zip(videos, _runs_of_each(videos, wanted, length, rng), strict=True)
        for start in _starts(len(video), runs, length, rng)
        for sample in video[start : start + length]
    ]
    return (*kept(chosen), *others(source))


def _videos(samples: list[LabelledImage], length: int, gap: float | None) -> list[list[LabelledImage]]:
    """Return the stretches of consecutive frames that hold a run; for runs of one frame, one stretch of all images."""
    if length == 1:
        return [samples]
    stretches: list[list[LabelledImage]] = []
    for sample in sorted((s for s in samples if s.sequence), key=lambda s: (s.sequence, s.time, s.image_id)):
        before = stretches[-1][-1] if stretches else None
        # Times are frame numbers over a rate: a rounding error is not a gap.
        if (
            before is not None
            and before.sequence == sample.sequence
            and (gap is None or sample.time - before.time <= gap * (1 + 1e-9))
        ):
            stretches[-1].append(sample)
        else:
            stretches.append([sample])
    return [stretch for stretch in stretches if len(stretch) >= length]


def _runs_of_each(videos: list[list[LabelledImage]], wanted: int, length: int, rng: np.random.Generator) -> list[int]:
    """Return how many runs each stretch gets."""
    places = np.array([len(video) - length + 1 for video in videos], np.int64)
    runs = np.zeros(len(videos), np.int64)
    if len(videos) == 1:
        return [wanted]
    for _ in range(wanted):
        ends = np.cumsum(np.maximum(places - runs * length, 0))
        runs[np.searchsorted(ends, rng.integers(ends[-1]), side="right")] += 1
    return [int(count) for count in runs]


def _starts(frames: int, runs: int, length: int, rng: np.random.Generator) -> list[int]:
    """Draw uniform starts of disjoint runs: with runs shrunk to one frame, any choice of frames is one placement."""
    shrunk = np.sort(rng.permutation(frames - runs * (length - 1))[:runs])
    return [int(start) + at * (length - 1) for at, start in enumerate(shrunk)]
