"""Addresses, replicas and the NATS server of the local stack."""

import os

import pytest

from tessera.cli import stack
from tessera.cli.stack import Stack, replicas_from
from tessera.errors import BadInput, Unavailable
from tessera.runtime import messaging


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("scorrer=2", "unknown service"),
        ("scorer", "scorer=N"),
        ("coordinator=0", "needs its"),
        ("scorer=-1", "0 to 64"),
    ],
)
def test_replicas_are_checked(value, message):
    with pytest.raises(BadInput, match=message):
        replicas_from([value])


def test_replicas_parse():
    assert replicas_from(["scorer=3", "evaluator=2", "selector=0"]) == {"scorer": 3, "evaluator": 2, "selector": 0}


def test_a_service_with_no_replicas_is_left_to_others(tmp_path):
    assert Stack(tmp_path, replicas={"scorer": 2})._hosted() == ["all"]
    assert Stack(tmp_path, replicas={"selector": 0})._hosted() == [one for one in stack.SERVICES if one != "selector"]


def test_ports_and_token_are_kept_for_the_next_start(tmp_path):
    first = Stack(tmp_path)
    first._write_facts()
    second = Stack(tmp_path)
    assert (second.nats, second.token, second.coordinator) == (first.nats, first.token, first.coordinator)
    assert (tmp_path / "stack.json").stat().st_mode & 0o077 == 0


def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path):
    import socket

    first = Stack(tmp_path)
    first._write_facts()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first._facts["nats_port"]))
        taken.listen()
        assert Stack(tmp_path).nats != first.nats


async def test_the_server_asks_for_its_token_and_survives_a_kill(tmp_path):
    made = Stack(tmp_path)
    made._write_facts()
    made._start_nats()
    try:
        stack.wait_for_port(made.nats_address(), 10.0, lambda: "not up", made.supervisor)
        with pytest.raises(Unavailable):
            await messaging.connect(made.nats, name="stranger", first_seconds=1.0)
        connection = await messaging.connect(made.nats, name="test", token=made.token)
        await connection.close()
    finally:
        made.stop()


def test_a_given_server_that_does_not_answer_is_named_at_once(tmp_path):
    port = stack.free_ports(1)[0]
    with pytest.raises(Unavailable, match=f"NATS at nats://127.0.0.1:{port} does not answer"):
        Stack(tmp_path, nats=f"nats://127.0.0.1:{port}").start()
    with pytest.raises(BadInput, match="not an address"):
        Stack(tmp_path, nats="nats://127.0.0.1:notaport").start()


def test_a_local_stack_forgets_the_logins_of_a_cluster(tmp_path, monkeypatch):
    cluster = {"NATS_USER": "scorer", "NATS_PASSWORD": "x", "NATS_CA": "/ca.crt", "GRPC_CA": "/ca.crt"}
    for name, value in cluster.items():
        monkeypatch.setenv(f"TESSERA_{name}", value)
    Stack(tmp_path / "given", nats="nats://127.0.0.1:1")
    assert [name for name in cluster if f"TESSERA_{name}" in os.environ] == ["NATS_USER", "NATS_PASSWORD", "NATS_CA"]
    Stack(tmp_path / "own")
    assert [name for name in cluster if f"TESSERA_{name}" in os.environ] == []
