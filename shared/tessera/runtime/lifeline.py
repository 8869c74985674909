"""End this process when its parent ends, however that happens."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def hold(on_loss: Callable[[], None]) -> None:
    """Call ``on_loss`` (from a thread) when the pipe ``TESSERA_LIFELINE_FD`` closes; nothing when it is not set.

    On Linux the system also sends SIGTERM when the starting thread dies.
    """
    given = os.environ.get("TESSERA_LIFELINE_FD")
    if not given:
        return
    descriptor = int(given)
    os.set_inheritable(descriptor, False)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    def wait() -> None:
        while os.read(descriptor, 1024):
            pass
        on_loss()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
