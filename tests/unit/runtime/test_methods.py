"""Every method that a service declares: its messages are the protocol's, its functions take and return them."""

from __future__ import annotations

import importlib
import pkgutil
from typing import get_type_hints

import pytest

import services
from tessera.formats.blobs import Blobs
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.trainer_pb2 import TrainRequest, TrainResponse
from tessera.runtime.child_main import resolve
from tessera.runtime.method import Context, Method

NAMES = [module.name for module in pkgutil.iter_modules(services.__path__)]
METHODS: list[Method] = [
    method for name in NAMES for method in importlib.import_module(f"services.{name}.handler").METHODS
]


def test_a_method_is_what_the_protocol_says_about_its_path() -> None:
    (train,) = [method for method in METHODS if method.path == "tessera.v1.TrainerService/Train"]
    assert (train.service, train.name, train.verb) == ("tessera.v1.TrainerService", "Train", "train")
    assert (train.request, train.response) == (TrainRequest, TrainResponse)
    assert len({method.verb for method in METHODS}) == len(METHODS)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_its_functions_take_and_return_the_protocols_messages(method: Method) -> None:
    assert get_type_hints(method.reads) == {"request": method.request, "context": Context, "return": list[ObjectRef]}
    assert get_type_hints(method.compute) == {"request": method.request, "blobs": Blobs, "return": method.response}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_child_finds_the_function_by_its_name(method: Method) -> None:
    assert resolve(method.function) is method.compute
