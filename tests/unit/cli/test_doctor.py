"""What ``tessera doctor`` asks of a machine that only calls a stack elsewhere, as the image ``client`` does."""

from __future__ import annotations

import pytest

from tessera.cli import doctor, results, stack
from tessera.errors import BadInput


def where(nats: str | None, *, local: bool = False) -> doctor.Where:
    return doctor.Where(nats=nats, token=None, store=None, coordinator=None, data=None, folder=None, local=local)


@pytest.fixture(autouse=True)
def _without_programs_and_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> str:
        raise BadInput("nats-server: not found")

    monkeypatch.setattr(stack, "nats_server", absent)
    monkeypatch.setattr(results, "versions", lambda: {"python": "3.12"})


async def test_a_machine_that_calls_a_stack_elsewhere_needs_neither_nats_server_nor_torch() -> None:
    for check in (doctor._server, doctor._compute):
        state, text, code = await check(where("nats://nats.example.org:4222"))
        assert (state, code) == (doctor.OPTIONAL, 0), text


@pytest.mark.parametrize("there", [where(None), where("nats://127.0.0.1:4222", local=True)], ids=["none", "local"])
async def test_a_machine_that_runs_everything_needs_both(there: doctor.Where) -> None:
    with pytest.raises(BadInput, match="nats-server"):
        await doctor._server(there)
    state, _, code = await doctor._compute(there)
    assert (state, code) == (doctor.BROKEN, 1)
