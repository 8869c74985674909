"""Versions of methods that somebody else's workers serve."""

from __future__ import annotations

import pytest

from tessera.errors import BadInput
from tessera.pb.selector_pb2 import SelectRequest
from tessera.runtime import catalogue, jobkeys
from tessera.runtime.settings import load


def test_a_replaced_method_has_job_keys_of_its_own() -> None:
    request = SelectRequest(seed=1)
    ours = catalogue.methods()["Select"][1].algorithm
    assert catalogue.job_key("Select", request) == jobkeys.job_key("Select", ours, request)
    assert catalogue.job_key("Select", request, {"Score": "x"}) == catalogue.job_key("Select", request)
    assert catalogue.job_key("Select", request, {"Select": "x/1"}) == jobkeys.job_key("Select", "x/1", request)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"Selekt": "x"}, "unknown method 'Selekt'; did you mean Select"),
        ({"Select": ""}, "Select has an empty version"),
    ],
)
def test_a_replacement_that_cannot_be_is_named(replaced: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        catalogue.check_replaced(replaced)


def test_the_setting_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_ALGORITHMS", '{"Select": "plain/1"}')
    assert load().algorithms == {"Select": "plain/1"}
    monkeypatch.setenv("TESSERA_ALGORITHMS", '["Select"]')
    with pytest.raises(BadInput, match="TESSERA_ALGORITHMS"):
        load()


def test_a_setting_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_ALGORITHMS", "Select=plain/1")
    with pytest.raises(BadInput, match="TESSERA_ALGORITHMS"):
        load()
