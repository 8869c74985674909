"""Kernels compiled beforehand, in the container image, so that a fresh container's first job waits for no compiler."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from pathlib import Path

from tessera.runtime.settings import Settings

_log = logging.getLogger(__name__)


def provide(settings: Settings) -> bool:
    """Copy ``settings.kernels`` into the cache that compute children use; False where there is nothing to do.

    A copy, because numba refuses a cache folder that it cannot write to, and the image's is read-only. An existing
    cache stays: it holds these kernels, or newer ones. Without room on the disk the kernels are compiled when they are
    needed, and the log says so.
    """
    source, target = settings.kernels, settings.cache_dir / "numba"
    if source is None or target.exists():
        return False
    whole = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        whole = Path(tempfile.mkdtemp(prefix="numba-", dir=target.parent))
        shutil.copytree(source, whole, dirs_exist_ok=True, copy_function=shutil.copyfile)
        os.rename(whole, target)
    except OSError as error:
        if whole is not None:
            shutil.rmtree(whole, ignore_errors=True)
        # Another container that shares the cache was first.
        if not target.exists():
            _log.warning("compiled kernels are not used", extra={"kernels": str(source), "error": str(error)})
        return False
    with contextlib.suppress(OSError):
        target.chmod(0o755)
    return True
