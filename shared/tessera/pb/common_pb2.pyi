from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ObjectRef(_message.Message):
    __slots__ = ("bucket", "key", "sha256", "size", "media_type")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    key: str
    sha256: str
    size: int
    media_type: str
    def __init__(self, bucket: _Optional[str] = ..., key: _Optional[str] = ..., sha256: _Optional[str] = ..., size: _Optional[int] = ..., media_type: _Optional[str] = ...) -> None: ...

class JobContext(_message.Message):
    __slots__ = ("run_id", "round", "step", "shard")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    round: int
    step: str
    shard: int
    def __init__(self, run_id: _Optional[str] = ..., round: _Optional[int] = ..., step: _Optional[str] = ..., shard: _Optional[int] = ...) -> None: ...

class AxisValue(_message.Message):
    __slots__ = ("name", "parameters")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    parameters: str
    def __init__(self, name: _Optional[str] = ..., parameters: _Optional[str] = ...) -> None: ...

class ImageRange(_message.Message):
    __slots__ = ("split", "start", "end")
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    split: str
    start: int
    end: int
    def __init__(self, split: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class Dataset(_message.Message):
    __slots__ = ("manifest", "labels", "given")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: ObjectRef
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[ObjectRef, _Mapping]] = ...) -> None: ...
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    manifest: ObjectRef
    labels: _containers.MessageMap[str, ObjectRef]
    given: ObjectRef
    def __init__(self, manifest: _Optional[_Union[ObjectRef, _Mapping]] = ..., labels: _Optional[_Mapping[str, ObjectRef]] = ..., given: _Optional[_Union[ObjectRef, _Mapping]] = ...) -> None: ...

class ModelRef(_message.Message):
    __slots__ = ("architecture", "classes", "weights")
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    architecture: AxisValue
    classes: int
    weights: ObjectRef
    def __init__(self, architecture: _Optional[_Union[AxisValue, _Mapping]] = ..., classes: _Optional[int] = ..., weights: _Optional[_Union[ObjectRef, _Mapping]] = ...) -> None: ...

class AuxiliaryRef(_message.Message):
    __slots__ = ("auxiliary", "weights")
    AUXILIARY_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    auxiliary: AxisValue
    weights: ObjectRef
    def __init__(self, auxiliary: _Optional[_Union[AxisValue, _Mapping]] = ..., weights: _Optional[_Union[ObjectRef, _Mapping]] = ...) -> None: ...

class RegionShard(_message.Message):
    __slots__ = ("images", "regions", "maps", "region_count")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    MAPS_FIELD_NUMBER: _ClassVar[int]
    REGION_COUNT_FIELD_NUMBER: _ClassVar[int]
    images: ImageRange
    regions: ObjectRef
    maps: ObjectRef
    region_count: int
    def __init__(self, images: _Optional[_Union[ImageRange, _Mapping]] = ..., regions: _Optional[_Union[ObjectRef, _Mapping]] = ..., maps: _Optional[_Union[ObjectRef, _Mapping]] = ..., region_count: _Optional[int] = ...) -> None: ...
