from tessera.pb import common_pb2 as _common_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PartitionRequest(_message.Message):
    __slots__ = ("context", "manifest", "images", "partition")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.JobContext
    manifest: _common_pb2.ObjectRef
    images: _common_pb2.ImageRange
    partition: _common_pb2.AxisValue
    def __init__(self, context: _Optional[_Union[_common_pb2.JobContext, _Mapping]] = ..., manifest: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., images: _Optional[_Union[_common_pb2.ImageRange, _Mapping]] = ..., partition: _Optional[_Union[_common_pb2.AxisValue, _Mapping]] = ...) -> None: ...

class PartitionResponse(_message.Message):
    __slots__ = ("shard", "pixel_count")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    PIXEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    shard: _common_pb2.RegionShard
    pixel_count: int
    def __init__(self, shard: _Optional[_Union[_common_pb2.RegionShard, _Mapping]] = ..., pixel_count: _Optional[int] = ...) -> None: ...
