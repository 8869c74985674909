"""Following a run: it waits for servers that go away, but not for ever."""

from __future__ import annotations

import asyncio
import time

import pytest

from tessera.cli import follow as following
from tessera.errors import BadInput, Cancelled, CorruptObject, JobFailedError, Unavailable
from tessera.pb import runs_pb2 as pb


class Script:
    """A coordinator that answers each watch by the next entry: states to send, or an error."""

    def __init__(self, *script):
        self.script = list(script)
        self.watches = 0

    async def watch(self, run_id):
        self.watches += 1
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        for each in step:
            if isinstance(each, Exception):
                raise each
            if isinstance(each, float):
                await asyncio.sleep(each)
                continue
            yield pb.WatchRunResponse(run=pb.RunView(spec=pb.RunSpec(run_id=run_id), status=each))


RUNNING, DONE, FAILED = pb.RUN_STATUS_RUNNING, pb.RUN_STATUS_DONE, pb.RUN_STATUS_FAILED
GONE = Unavailable("no server answers")


async def nothing(view):
    return []


async def followed(script, changed=nothing, check=None):
    async with asyncio.timeout(20):
        return await following.follow(script, "r", changed, check)


async def test_a_coordinator_that_comes_back_is_followed_on():
    script = Script([RUNNING, GONE], [GONE], [], [RUNNING, DONE])
    assert (await followed(script)).status == DONE
    assert script.watches == 4


async def test_a_coordinator_that_stays_away_is_given_up(monkeypatch):
    monkeypatch.setenv("TESSERA_PATIENCE_SECONDS", "0.5")
    began = time.monotonic()
    with pytest.raises(Unavailable, match="run r: no server answers; the run is kept, resume it later"):
        await followed(Script([GONE]))
    assert 0.5 < time.monotonic() - began < 20  # not a minute, which is the default


async def test_a_patience_that_is_no_number_is_named(monkeypatch):
    for wrong in ("soon", "-1", "inf", "nan"):
        monkeypatch.setenv("TESSERA_PATIENCE_SECONDS", wrong)
        with pytest.raises(BadInput, match=f"TESSERA_PATIENCE_SECONDS='{wrong}'"):
            await followed(Script([DONE]))


async def test_a_long_quiet_stream_is_not_a_lost_one(monkeypatch):
    monkeypatch.setenv("TESSERA_PATIENCE_SECONDS", "0.4")
    assert (await followed(Script([RUNNING, 0.8, GONE], [DONE]))).status == DONE


async def test_a_store_that_is_away_is_waited_for_beyond_all_patience_and_said_once_a_minute(monkeypatch, capsys):
    monkeypatch.setenv("TESSERA_PATIENCE_SECONDS", "0.1")
    monkeypatch.setattr(following, "OUTAGE_SECONDS", 0.1)
    failures = [Unavailable("object a: no room; make room")] * 5

    async def changed(view):
        if failures:
            raise failures.pop()
        return []

    assert (await followed(Script([RUNNING, DONE]), changed)).status == DONE
    assert failures == []
    assert capsys.readouterr().err.count("results wait to be written: object a: no room; make room") == 1


@pytest.mark.parametrize("error", [BadInput("unknown run"), CorruptObject("object a: sha256 is b")])
async def test_what_waiting_does_not_mend_is_said_at_once(error):
    with pytest.raises(type(error), match=str(error)):
        await followed(Script([error]))


async def test_a_check_that_fails_ends_it_though_nothing_is_said():
    def check():
        raise Unavailable("local stack: host died 5 times")

    with pytest.raises(Unavailable, match="host died"):
        await followed(Script([RUNNING, 60.0]), check=check)


def test_every_end_has_its_exit_code():
    def end(status, **fields):
        following.conclude(pb.RunView(spec=pb.RunSpec(run_id="r"), status=status, **fields), "tessera resume r")

    end(DONE)
    with pytest.raises(BadInput, match="run r failed: too dear"):
        end(FAILED, message="too dear", exit_code=2)
    with pytest.raises(JobFailedError, match="run r failed: no room"):
        end(FAILED, message="no room", exit_code=3)
    with pytest.raises(Cancelled, match=r"cancelled: lunch; continue with: tessera resume r$"):
        end(pb.RUN_STATUS_CANCELLED, message="lunch")
    with pytest.raises(JobFailedError, match="unknown state"):
        end(pb.RUN_STATUS_UNSPECIFIED)
