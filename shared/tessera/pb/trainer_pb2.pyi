from tessera.pb import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrainRequest(_message.Message):
    __slots__ = ("context", "manifest", "ledgers", "shards", "architecture", "classes", "pretrained", "training", "checkpoint_policy", "val_labels", "seed", "acquisition_model", "previous")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    LEDGERS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    PRETRAINED_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_POLICY_FIELD_NUMBER: _ClassVar[int]
    VAL_LABELS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    ACQUISITION_MODEL_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.JobContext
    manifest: _common_pb2.ObjectRef
    ledgers: _containers.RepeatedCompositeFieldContainer[_common_pb2.ObjectRef]
    shards: _containers.RepeatedCompositeFieldContainer[_common_pb2.RegionShard]
    architecture: _common_pb2.AxisValue
    classes: int
    pretrained: _common_pb2.ObjectRef
    training: _common_pb2.AxisValue
    checkpoint_policy: str
    val_labels: _common_pb2.ObjectRef
    seed: int
    acquisition_model: str
    previous: _common_pb2.ModelRef
    def __init__(self, context: _Optional[_Union[_common_pb2.JobContext, _Mapping]] = ..., manifest: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., ledgers: _Optional[_Iterable[_Union[_common_pb2.ObjectRef, _Mapping]]] = ..., shards: _Optional[_Iterable[_Union[_common_pb2.RegionShard, _Mapping]]] = ..., architecture: _Optional[_Union[_common_pb2.AxisValue, _Mapping]] = ..., classes: _Optional[int] = ..., pretrained: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., training: _Optional[_Union[_common_pb2.AxisValue, _Mapping]] = ..., checkpoint_policy: _Optional[str] = ..., val_labels: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., seed: _Optional[int] = ..., acquisition_model: _Optional[str] = ..., previous: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class TrainResponse(_message.Message):
    __slots__ = ("model", "history", "kept_epoch", "extras", "reported", "features", "losses")
    class ExtrasEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _common_pb2.ObjectRef
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    KEPT_EPOCH_FIELD_NUMBER: _ClassVar[int]
    EXTRAS_FIELD_NUMBER: _ClassVar[int]
    REPORTED_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    model: _common_pb2.ModelRef
    history: _common_pb2.ObjectRef
    kept_epoch: int
    extras: _containers.MessageMap[str, _common_pb2.ObjectRef]
    reported: _common_pb2.ModelRef
    features: _common_pb2.ModelRef
    losses: _common_pb2.ObjectRef
    def __init__(self, model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., history: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., kept_epoch: _Optional[int] = ..., extras: _Optional[_Mapping[str, _common_pb2.ObjectRef]] = ..., reported: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., features: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., losses: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ...) -> None: ...

class DiscriminateRequest(_message.Message):
    __slots__ = ("context", "manifest", "ledgers", "shards", "model", "auxiliary", "seed")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    LEDGERS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    AUXILIARY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.JobContext
    manifest: _common_pb2.ObjectRef
    ledgers: _containers.RepeatedCompositeFieldContainer[_common_pb2.ObjectRef]
    shards: _containers.RepeatedCompositeFieldContainer[_common_pb2.RegionShard]
    model: _common_pb2.ModelRef
    auxiliary: _common_pb2.AxisValue
    seed: int
    def __init__(self, context: _Optional[_Union[_common_pb2.JobContext, _Mapping]] = ..., manifest: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., ledgers: _Optional[_Iterable[_Union[_common_pb2.ObjectRef, _Mapping]]] = ..., shards: _Optional[_Iterable[_Union[_common_pb2.RegionShard, _Mapping]]] = ..., model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., auxiliary: _Optional[_Union[_common_pb2.AxisValue, _Mapping]] = ..., seed: _Optional[int] = ...) -> None: ...

class DiscriminateResponse(_message.Message):
    __slots__ = ("auxiliary", "history")
    AUXILIARY_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    auxiliary: _common_pb2.AuxiliaryRef
    history: _common_pb2.ObjectRef
    def __init__(self, auxiliary: _Optional[_Union[_common_pb2.AuxiliaryRef, _Mapping]] = ..., history: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ...) -> None: ...
