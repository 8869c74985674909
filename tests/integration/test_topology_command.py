"""``tessera topology``: an empty NATS server gets what services and scalers look for."""

from __future__ import annotations

from integration.loop import tessera
from tessera.runtime import catalogue, topology
from tessera.runtime.messaging import connect
from tessera.runtime.settings import load


async def test_an_empty_server_gets_all_of_the_topology_and_a_second_time_changes_nothing(nats_url: str) -> None:
    verbs = [method.verb for _, method in catalogue.methods().values()]
    for _ in range(2):
        done = tessera("topology", TESSERA_NATS_URL=nats_url)
        assert done.returncode == 0, done.stderr
        assert "JOBS" in done.stdout
    messaging = await connect(nats_url, name="test")
    try:
        assert await topology.faults(messaging, load(), verbs) == []
    finally:
        await messaging.close()


async def test_another_setting_than_the_server_has_is_named(nats_url: str) -> None:
    assert tessera("topology", "--nats", nats_url).returncode == 0
    done = tessera("topology", "--nats", nats_url, TESSERA_JOBS_LIMIT="7")
    assert done.returncode == 2
    assert "max_msgs is 100000, expected 7" in done.stderr
