"""Scratch folders: removed with their process's work, and after its death by whoever comes next."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tessera.errors import Unavailable
from tessera.runtime import scratch as scratch_module
from tessera.runtime.scratch import PREFIX, Scratch, sweep

_OWNER = """
import sys, time
from pathlib import Path
from tessera.runtime.scratch import Scratch
print(Scratch(Path(sys.argv[1])).folder().parent, flush=True)
time.sleep(60)
"""


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_uses_is_not(tmp_path: Path) -> None:
    living = Scratch(tmp_path)
    mine = living.folder()
    with subprocess.Popen([sys.executable, "-c", _OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        theirs = Path(owner.stdout.readline().strip())
        (theirs / "result").write_bytes(b"x" * 1000)
        assert sweep(tmp_path) == []  # both live
        owner.kill()
    assert theirs.is_dir()
    assert sweep(tmp_path) == [theirs]
    assert not theirs.exists()
    assert mine.is_dir()
    living.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_swept_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, swept = scratch_module._locked, []

    def late(folder: Path) -> int:
        if not swept:
            monkeypatch.setattr(scratch_module, "_locked", real)
            swept.extend(sweep(tmp_path))
        return real(folder)

    monkeypatch.setattr(scratch_module, "_locked", late)
    scratch = Scratch(tmp_path)
    assert scratch.folder().is_dir()
    assert len(swept) == 1
    assert not swept[0].exists()
    assert sweep(tmp_path) == []
    scratch.remove()


def test_only_folders_of_ours_are_touched(tmp_path: Path) -> None:
    foreign = tmp_path / "tessera-of-somebody"
    outside = tmp_path / "outside"
    for folder in (foreign, outside):
        folder.mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(outside)
    (tmp_path / f"{PREFIX}file").write_text("x")
    before = sorted(tmp_path.iterdir())
    assert sweep(tmp_path) == []
    assert sorted(tmp_path.iterdir()) == before
    assert sweep(tmp_path / "gone") == []


def test_a_folder_that_was_cleaned_away_is_made_again(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    first = scratch.folder()
    first.rmdir()
    first.parent.rmdir()
    assert scratch.folder().is_dir()
    assert len(list(tmp_path.iterdir())) == 1
    scratch.remove()
    scratch.remove()
    assert list(tmp_path.iterdir()) == []


def test_no_place_for_scratch_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=f"scratch folder {tmp_path}/gone: cannot be used .*TESSERA_SCRATCH_DIR"):
        Scratch(tmp_path / "gone").folder()
