"""How numba kernels are compiled. Imported only by modules that run in a compute child."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile for float-exact, GIL-free use, cached on disk.

    No fastmath: sums keep their order, so a result is the same on any number of strips, shards and processes. A kernel
    and the kernels it calls stay in one file, because numba's cache notices changes of the kernel's own file only.
    """
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
