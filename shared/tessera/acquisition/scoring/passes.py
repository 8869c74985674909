"""Scores over several forward passes, strip by strip: logits stay at low resolution, no array is T×C×H×W."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tessera.acquisition.interfaces import Axis, Float32, PassScore, PassSet, Score, Strip


def blank_strip(needs: frozenset[str], classes: int, n: int) -> Strip:
    """Return the buffers for the named parts of a strip of n pixels; the others have no elements."""

    def plane(need: str) -> Float32:
        return np.empty(n if need in needs else 0, np.float32)

    return Strip(
        total=plane("softmax"),
        log_total=plane("softmax"),
        dot=plane("softmax"),
        second=plane("second"),
        predicted=np.empty(n if "predicted" in needs else 0, np.int32),
        exps=np.empty((classes, n if "exps" in needs else 0), np.float32),
    )


class Passes:
    """Further passes of one image; a strip of each is filled once for all scores that read it."""

    def __init__(
        self, scores: Sequence[Score], extra: Mapping[PassSet, Sequence[Float32]], vertical: Axis, horizontal: Axis
    ) -> None:
        self._axes = vertical, horizontal
        self._extra = extra
        self._groups: dict[PassSet, list[tuple[int, PassScore]]] = {}
        for index, score in enumerate(scores):
            if score.over is not None:
                self._groups.setdefault(score.over.passes, []).append((index, score.over))

    def score(self, plain: Strip, first: int, rows: int, values: Sequence[Float32]) -> None:
        """Write the scores of output rows [first, first + rows) to their places in ``values``, (n,) each.

        Passes are added in order, so that a pixel's value depends on its logits alone.
        """
        if not self._groups:
            return
        from tessera.acquisition.scoring.softmax_kernel import fill_strip

        for passes, group in self._groups.items():
            logits = self._extra[passes]
            classes, n = logits[0].shape[0], rows * len(self._axes[1][0])
            kept = [np.zeros((score.width(classes), n), np.float32) for _, score in group]
            for (_, score), state in zip(group, kept, strict=True):
                if score.plain:
                    score.add(plain, state)
            needs = frozenset(need for _, score in group for need in score.needs)
            strip = blank_strip(needs | {"softmax"}, classes, n)
            for one in logits:
                fill_strip(one, first, rows, self._axes, strip)
                for (_, score), state in zip(group, kept, strict=True):
                    score.add(strip, state)
            for (index, score), state in zip(group, kept, strict=True):
                score.finish(state, len(logits) + score.plain, values[index])
