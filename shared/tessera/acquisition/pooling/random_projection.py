"""Random projection by signs (Achlioptas 2003): shorter vectors whose inner products stay nearly the same."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition.interfaces import Float32, Float64
from tessera.compile import kernel

Int8 = npt.NDArray[np.int8]


@kernel
def combine(values: Float32, signs: Int8, total: Float64, out: Float32) -> None:
    """``out`` (n, k) = ``values`` (n, D) · ``signs`` (D, k) / √k, each row alone; ``total`` (k,) is scratch.

    Arrays: ``values``, ``out`` float32, ``signs`` int8, ``total`` float64.
    """
    scale = 1.0 / np.sqrt(np.float64(total.shape[0]))
    for row in range(values.shape[0]):
        total[:] = 0.0
        for d in range(values.shape[1]):
            value, sign = np.float64(values[row, d]), signs[d]
            for k in range(total.shape[0]):
                total[k] += value * sign[k]
        for k in range(total.shape[0]):
            out[row, k] = total[k] * scale


def sketch(values: Float32, outputs: int, seed: int) -> Float32:
    """Combine the values (n, D) of each row with fair random signs into (n, outputs) float32.

    Keeps inner products of rows on average, up to about 1/√outputs of the rows' lengths (Achlioptas 2003). BLAS is not
    used, because its sums depend on the number of rows, and a region's vector must not depend on other regions.
    """
    out = np.empty((len(values), outputs), np.float32)
    combine(np.ascontiguousarray(values), signs(values.shape[1], outputs, seed), np.empty(outputs), out)
    return out


@lru_cache(maxsize=2)
def signs(inputs: int, outputs: int, seed: int) -> npt.NDArray[Any]:
    """Return ±1 (inputs, outputs) int8, each sign fair and a function of the arguments alone."""
    rng = np.random.default_rng([seed, inputs, outputs])
    return 2 * rng.integers(0, 2, (inputs, outputs), np.int8) - np.int8(1)
