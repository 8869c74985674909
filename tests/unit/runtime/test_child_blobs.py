"""What a compute function writes: no room for it is the machine's fault, and is said as such."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tessera.errors import Unavailable
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime.child_main import ChildBlobs


def _blobs(folder: Path) -> ChildBlobs:
    channel: Any = None
    return ChildBlobs(channel, 1, {}, folder, "local")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_scratch_disk_names_the_place_and_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    blobs = _blobs(tmp_path)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Unavailable, match=rf"{tmp_path}/.*no room for 5 bytes of results \(TESSERA_SCRATCH_DIR\)"):
        blobs.write(b"bytes", "text/plain")
    assert blobs.written == {}


def test_what_no_handler_named_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="object a/b is not among the reads"):
        _blobs(tmp_path).read(ObjectRef(key="a/b", sha256="0" * 64, size=1))
