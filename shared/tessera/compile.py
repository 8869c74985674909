"""How numba kernels are compiled. Imported only by modules that run in a compute child."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile for float-exact, GIL-free use, cached on disk.

    No fastmath: sums keep their order, so a result is the same on any number of strips, shards and processes. A kernel
    and what it calls stay in one file, because numba's cache notices changes of the kernel's own file only.
    """
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def threaded(function: F) -> F:
    """Compile like `kernel`, with the pieces of ``numba.prange`` on as many threads as the job has.

    For pieces that write apart from each other, so that their number changes no result, and that are too short for a
    Python thread each. Called from one Python thread at a time: where there is no OpenMP, numba's own workers allow no
    more (a compute child runs one job).
    """
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy", parallel=True)(function))
