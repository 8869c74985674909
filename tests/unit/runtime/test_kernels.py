"""Kernels that an image brings: copied once, whole, and never over what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tessera.runtime.kernels import provide
from tessera.runtime.settings import Settings, load


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    folder = tmp_path / "image" / "scoring_0a1b"
    folder.mkdir(parents=True)
    (folder / "entropy.nbi").write_bytes(b"index")
    (folder / "entropy.1.nbc").write_bytes(b"code")
    return folder.parent


def _settings(tmp_path: Path, kernels: Path | None) -> Settings:
    return load(cache_dir=tmp_path / "cache", kernels=kernels, store=tmp_path.as_uri())


def test_a_fresh_cache_gets_the_kernels_and_can_be_written_to(compiled: Path, tmp_path: Path) -> None:
    (compiled / "scoring_0a1b" / "entropy.nbi").chmod(0o444)
    assert provide(_settings(tmp_path, compiled))
    there = tmp_path / "cache" / "numba"
    assert (there / "scoring_0a1b" / "entropy.1.nbc").read_bytes() == b"code"
    (there / "scoring_0a1b" / "entropy.nbi").write_bytes(b"more")
    assert [path.name for path in there.parent.iterdir()] == ["numba"]


def test_what_the_cache_holds_stays(compiled: Path, tmp_path: Path) -> None:
    there = tmp_path / "cache" / "numba"
    there.mkdir(parents=True)
    (there / "own.nbi").write_bytes(b"own")
    assert not provide(_settings(tmp_path, compiled))
    assert [path.name for path in there.iterdir()] == ["own.nbi"]


def test_without_kernels_nothing_is_made(tmp_path: Path) -> None:
    assert not provide(_settings(tmp_path, None))
    assert not (tmp_path / "cache").exists()


def test_kernels_that_cannot_be_copied_stop_no_service(
    compiled: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert not provide(_settings(tmp_path, compiled))
    assert "compiled kernels are not used" in caplog.text
    assert not provide(_settings(tmp_path / "other", tmp_path / "missing"))
    assert not (tmp_path / "other" / "cache" / "numba").exists()
