from tessera.pb import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Budget(_message.Message):
    __slots__ = ("unit", "amount", "cheapest")
    UNIT_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    CHEAPEST_FIELD_NUMBER: _ClassVar[int]
    unit: str
    amount: float
    cheapest: float
    def __init__(self, unit: _Optional[str] = ..., amount: _Optional[float] = ..., cheapest: _Optional[float] = ...) -> None: ...

class SelectRequest(_message.Message):
    __slots__ = ("context", "shards", "scores", "candidates", "embedding", "ledgers", "stages", "budget", "seed", "manifest", "constraints")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    LEDGERS_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.JobContext
    shards: _containers.RepeatedCompositeFieldContainer[_common_pb2.RegionShard]
    scores: _containers.RepeatedCompositeFieldContainer[_common_pb2.ObjectRef]
    candidates: _common_pb2.ObjectRef
    embedding: _common_pb2.ObjectRef
    ledgers: _containers.RepeatedCompositeFieldContainer[_common_pb2.ObjectRef]
    stages: _containers.RepeatedCompositeFieldContainer[_common_pb2.AxisValue]
    budget: Budget
    seed: int
    manifest: _common_pb2.ObjectRef
    constraints: _containers.RepeatedCompositeFieldContainer[_common_pb2.AxisValue]
    def __init__(self, context: _Optional[_Union[_common_pb2.JobContext, _Mapping]] = ..., shards: _Optional[_Iterable[_Union[_common_pb2.RegionShard, _Mapping]]] = ..., scores: _Optional[_Iterable[_Union[_common_pb2.ObjectRef, _Mapping]]] = ..., candidates: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., embedding: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., ledgers: _Optional[_Iterable[_Union[_common_pb2.ObjectRef, _Mapping]]] = ..., stages: _Optional[_Iterable[_Union[_common_pb2.AxisValue, _Mapping]]] = ..., budget: _Optional[_Union[Budget, _Mapping]] = ..., seed: _Optional[int] = ..., manifest: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., constraints: _Optional[_Iterable[_Union[_common_pb2.AxisValue, _Mapping]]] = ...) -> None: ...

class SelectResponse(_message.Message):
    __slots__ = ("selection", "selection_sha256", "count", "notes")
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    SELECTION_SHA256_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    selection: _common_pb2.ObjectRef
    selection_sha256: str
    count: int
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, selection: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., selection_sha256: _Optional[str] = ..., count: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...
