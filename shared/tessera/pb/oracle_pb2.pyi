from tessera.pb import common_pb2 as _common_pb2
from tessera.pb import selector_pb2 as _selector_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AnswerRequest(_message.Message):
    __slots__ = ("context", "manifest", "shards", "selection", "labels", "query", "oracle", "seed", "budget", "answers", "imported", "labels_of")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    ORACLE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    IMPORTED_FIELD_NUMBER: _ClassVar[int]
    LABELS_OF_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.JobContext
    manifest: _common_pb2.ObjectRef
    shards: _containers.RepeatedCompositeFieldContainer[_common_pb2.RegionShard]
    selection: _common_pb2.ObjectRef
    labels: _common_pb2.ObjectRef
    query: _common_pb2.AxisValue
    oracle: _common_pb2.AxisValue
    seed: int
    budget: _selector_pb2.Budget
    answers: _common_pb2.ObjectRef
    imported: bool
    labels_of: str
    def __init__(self, context: _Optional[_Union[_common_pb2.JobContext, _Mapping]] = ..., manifest: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., shards: _Optional[_Iterable[_Union[_common_pb2.RegionShard, _Mapping]]] = ..., selection: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., labels: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., query: _Optional[_Union[_common_pb2.AxisValue, _Mapping]] = ..., oracle: _Optional[_Union[_common_pb2.AxisValue, _Mapping]] = ..., seed: _Optional[int] = ..., budget: _Optional[_Union[_selector_pb2.Budget, _Mapping]] = ..., answers: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., imported: _Optional[bool] = ..., labels_of: _Optional[str] = ...) -> None: ...

class AnswerResponse(_message.Message):
    __slots__ = ("ledger", "cost", "selection", "selection_sha256", "skipped", "labels")
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    SELECTION_SHA256_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ledger: _common_pb2.ObjectRef
    cost: Cost
    selection: _common_pb2.ObjectRef
    selection_sha256: str
    skipped: _common_pb2.ObjectRef
    labels: _common_pb2.ObjectRef
    def __init__(self, ledger: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., cost: _Optional[_Union[Cost, _Mapping]] = ..., selection: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., selection_sha256: _Optional[str] = ..., skipped: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., labels: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ...) -> None: ...

class Cost(_message.Message):
    __slots__ = ("regions", "images", "pixels", "clicks", "clicks_without_undefined", "labelling_seconds", "measured_clicks", "measured_seconds")
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    CLICKS_FIELD_NUMBER: _ClassVar[int]
    CLICKS_WITHOUT_UNDEFINED_FIELD_NUMBER: _ClassVar[int]
    LABELLING_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_CLICKS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    regions: int
    images: int
    pixels: int
    clicks: int
    clicks_without_undefined: int
    labelling_seconds: float
    measured_clicks: int
    measured_seconds: float
    def __init__(self, regions: _Optional[int] = ..., images: _Optional[int] = ..., pixels: _Optional[int] = ..., clicks: _Optional[int] = ..., clicks_without_undefined: _Optional[int] = ..., labelling_seconds: _Optional[float] = ..., measured_clicks: _Optional[int] = ..., measured_seconds: _Optional[float] = ...) -> None: ...
