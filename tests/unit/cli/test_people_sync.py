"""When a sync looks at a server that calls it, and how the address of the calls is read."""

from __future__ import annotations

from typing import cast

import pytest

from tessera.cli import people_sync
from tessera.cli.people import RunPlace
from tessera.cli.people_sync import Live, LookTimes
from tessera.errors import BadInput
from tessera.runtime.people.label_studio_sync import LabelStudioSync
from tessera.runtime.people.webhook import Webhook


class Calls:
    """A webhook that heard what the test says."""

    told = False

    async def heard(self, seconds: float) -> bool:
        return self.told


class Rounds:
    """A sync whose rounds change when the test says so."""

    changed = False

    async def rounds_changed(self) -> bool:
        return self.changed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    made = [1000.0]
    monkeypatch.setattr(people_sync.time, "monotonic", lambda: made[0])
    monkeypatch.setattr(people_sync, "_SOON_SECONDS", 0.0)
    return made


async def test_it_looks_when_it_is_called_when_rounds_change_and_now_and_then(clock: list[float]) -> None:
    hook, work = Calls(), Rounds()
    times = LookTimes(cast(Webhook, hook), cast(LabelStudioSync, work), 10.0)
    assert await times.due()
    times.looked()
    await times.pause()
    assert not await times.due()
    hook.told = True
    await times.pause()
    hook.told = False
    await times.pause()
    # A call is not forgotten before a look has come through.
    assert await times.due()
    assert await times.due()
    times.looked()
    assert not await times.due()
    work.changed = True
    assert await times.due()
    work.changed = False
    assert not await times.due()
    clock[0] += 299
    assert not await times.due()
    clock[0] += 2
    assert await times.due()


async def test_without_calls_it_looks_always() -> None:
    times = LookTimes(None, cast(LabelStudioSync, Rounds()), 0.0)
    times.looked()
    await times.pause()
    assert await times.due()


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ("http://a:0/x:0", "http://a:71/x:0"),
        ("http://a:80", "http://a:80"),
        ("https://a/b", "https://a/b"),
        ("http://[::1]:0/", "http://[::1]:71/"),
    ],
)
def test_port_zero_is_the_port_that_was_free(given: str, called: str) -> None:
    assert people_sync._address(given, 71) == called


@pytest.mark.parametrize("given", ["a:80", "ftp://a", "http://", "http://a:x"])
def test_an_address_that_nobody_can_call_is_refused(given: str) -> None:
    with pytest.raises(BadInput, match="--webhook"):
        people_sync._address(given, 71)


@pytest.mark.parametrize(("tool", "once"), [("cvat", False), ("label-studio", True)])
def test_a_webhook_is_for_label_studio_and_for_a_sync_that_goes_on(tool: str, once: bool) -> None:
    live = Live("http://a", None, 1, "upload", 1.0, 1.0, once, webhook="http://b")
    with pytest.raises(BadInput, match="--webhook: only for label-studio"):
        people_sync.sync(tool, RunPlace("127.0.0.1:1", None), "run", live)
