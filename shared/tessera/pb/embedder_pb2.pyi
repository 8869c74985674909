from tessera.pb import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FeaturizeRequest(_message.Message):
    __slots__ = ("context", "manifest", "model", "features", "targets", "shards")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.JobContext
    manifest: _common_pb2.ObjectRef
    model: _common_pb2.ModelRef
    features: _common_pb2.AxisValue
    targets: _common_pb2.ObjectRef
    shards: _containers.RepeatedCompositeFieldContainer[_common_pb2.RegionShard]
    def __init__(self, context: _Optional[_Union[_common_pb2.JobContext, _Mapping]] = ..., manifest: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., features: _Optional[_Union[_common_pb2.AxisValue, _Mapping]] = ..., targets: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., shards: _Optional[_Iterable[_Union[_common_pb2.RegionShard, _Mapping]]] = ...) -> None: ...

class FeaturizeResponse(_message.Message):
    __slots__ = ("features", "targets", "count", "dimension")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    features: _common_pb2.ObjectRef
    targets: _common_pb2.ObjectRef
    count: int
    dimension: int
    def __init__(self, features: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., targets: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., count: _Optional[int] = ..., dimension: _Optional[int] = ...) -> None: ...

class FeatureShard(_message.Message):
    __slots__ = ("features", "targets")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    features: _common_pb2.ObjectRef
    targets: _common_pb2.ObjectRef
    def __init__(self, features: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., targets: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ...) -> None: ...

class FitRequest(_message.Message):
    __slots__ = ("context", "shards", "projection", "seed", "bank")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    PROJECTION_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    BANK_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.JobContext
    shards: _containers.RepeatedCompositeFieldContainer[FeatureShard]
    projection: _common_pb2.AxisValue
    seed: int
    bank: _common_pb2.ObjectRef
    def __init__(self, context: _Optional[_Union[_common_pb2.JobContext, _Mapping]] = ..., shards: _Optional[_Iterable[_Union[FeatureShard, _Mapping]]] = ..., projection: _Optional[_Union[_common_pb2.AxisValue, _Mapping]] = ..., seed: _Optional[int] = ..., bank: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ...) -> None: ...

class FitResponse(_message.Message):
    __slots__ = ("projection", "embedding")
    PROJECTION_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    projection: _common_pb2.ObjectRef
    embedding: _common_pb2.ObjectRef
    def __init__(self, projection: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., embedding: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ...) -> None: ...

class ProjectRequest(_message.Message):
    __slots__ = ("context", "projection", "shards", "seed")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    PROJECTION_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.JobContext
    projection: _common_pb2.ObjectRef
    shards: _containers.RepeatedCompositeFieldContainer[FeatureShard]
    seed: int
    def __init__(self, context: _Optional[_Union[_common_pb2.JobContext, _Mapping]] = ..., projection: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., shards: _Optional[_Iterable[_Union[FeatureShard, _Mapping]]] = ..., seed: _Optional[int] = ...) -> None: ...

class ProjectResponse(_message.Message):
    __slots__ = ("embedding",)
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    embedding: _common_pb2.ObjectRef
    def __init__(self, embedding: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ...) -> None: ...
