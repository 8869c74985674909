"""Process settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tessera.errors import BadInput
from tessera.runtime.settings import load


def test_environment_is_read_and_overrides_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_STORE", "s3://bucket/prefix")
    monkeypatch.setenv("TESSERA_CORES", "3")
    assert load().store == "s3://bucket/prefix"
    assert load().core_count() == 3
    assert load(cores=5).core_count() == 5
    assert load(cores=0).core_count() >= 1


def test_defaults_follow_the_xdg_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TESSERA_STORE", raising=False)
    monkeypatch.delenv("TESSERA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert load().store == f"file://{tmp_path}/data/tessera/store"
    assert load().cache_dir == tmp_path / "cache" / "tessera"


def test_a_bad_value_names_its_variable_and_not_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_CORES", "many-marker")
    monkeypatch.setenv("TESSERA_ACK_WAIT", "-1")
    with pytest.raises(
        BadInput, match=r"TESSERA_ACK_WAIT: .*TESSERA_CORES: |TESSERA_CORES: .*TESSERA_ACK_WAIT: "
    ) as caught:
        load()
    assert "marker" not in str(caught.value)


def test_a_heartbeat_that_comes_too_late_is_refused_with_both_values() -> None:
    for heartbeat, wait in ((30.0, 30.0), (40.0, 30.0)):
        with pytest.raises(BadInput, match=rf"TESSERA_HEARTBEAT is {heartbeat:g} s and TESSERA_ACK_WAIT {wait:g} s"):
            load(heartbeat=heartbeat, ack_wait=wait)
    assert load(heartbeat=29.0, ack_wait=30.0).heartbeat == 29


def test_a_password_in_the_address_is_a_secret() -> None:
    assert "pa55word" in load(nats_url="nats://user:pa55word@broker:4222").secrets()
    assert "t0ken" in load(nats_url="nats://t0ken@broker").secrets()
    assert load(nats_url="nats://broker:4222").secrets() == ()


def test_the_documented_start_values() -> None:
    settings = load()
    assert (settings.ack_wait, settings.heartbeat, settings.fetch_expires) == (30, 10, 5)
    assert (settings.max_attempts, settings.message_bytes, settings.grpc_message_bytes) == (5, 65536, 4 << 20)
    assert (settings.s3_connect_timeout, settings.s3_read_timeout, settings.s3_part_bytes) == (3, 30, 8 << 20)
    assert settings.duplicate_window == 600
