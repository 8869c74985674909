from tessera.pb import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScoreColumn(_message.Message):
    __slots__ = ("column", "score", "aggregation")
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    AGGREGATION_FIELD_NUMBER: _ClassVar[int]
    column: str
    score: _common_pb2.AxisValue
    aggregation: _common_pb2.AxisValue
    def __init__(self, column: _Optional[str] = ..., score: _Optional[_Union[_common_pb2.AxisValue, _Mapping]] = ..., aggregation: _Optional[_Union[_common_pb2.AxisValue, _Mapping]] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("context", "manifest", "shard", "model", "columns", "seed", "auxiliary")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    AUXILIARY_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.JobContext
    manifest: _common_pb2.ObjectRef
    shard: _common_pb2.RegionShard
    model: _common_pb2.ModelRef
    columns: _containers.RepeatedCompositeFieldContainer[ScoreColumn]
    seed: int
    auxiliary: _containers.RepeatedCompositeFieldContainer[_common_pb2.AuxiliaryRef]
    def __init__(self, context: _Optional[_Union[_common_pb2.JobContext, _Mapping]] = ..., manifest: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., shard: _Optional[_Union[_common_pb2.RegionShard, _Mapping]] = ..., model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., columns: _Optional[_Iterable[_Union[ScoreColumn, _Mapping]]] = ..., seed: _Optional[int] = ..., auxiliary: _Optional[_Iterable[_Union[_common_pb2.AuxiliaryRef, _Mapping]]] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("scores", "region_count")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    REGION_COUNT_FIELD_NUMBER: _ClassVar[int]
    scores: _common_pb2.ObjectRef
    region_count: int
    def __init__(self, scores: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., region_count: _Optional[int] = ...) -> None: ...

class AskRequest(_message.Message):
    __slots__ = ("context", "manifest", "shards", "selection", "query", "seed", "model", "superpixels")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SUPERPIXELS_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.JobContext
    manifest: _common_pb2.ObjectRef
    shards: _containers.RepeatedCompositeFieldContainer[_common_pb2.RegionShard]
    selection: _common_pb2.ObjectRef
    query: _common_pb2.AxisValue
    seed: int
    model: _common_pb2.ModelRef
    superpixels: int
    def __init__(self, context: _Optional[_Union[_common_pb2.JobContext, _Mapping]] = ..., manifest: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., shards: _Optional[_Iterable[_Union[_common_pb2.RegionShard, _Mapping]]] = ..., selection: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., query: _Optional[_Union[_common_pb2.AxisValue, _Mapping]] = ..., seed: _Optional[int] = ..., model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., superpixels: _Optional[int] = ...) -> None: ...

class AskResponse(_message.Message):
    __slots__ = ("questions", "count")
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    questions: _common_pb2.ObjectRef
    count: int
    def __init__(self, questions: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., count: _Optional[int] = ...) -> None: ...
