from tessera.pb import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EvaluateRequest(_message.Message):
    __slots__ = ("context", "manifest", "images", "labels", "model")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.JobContext
    manifest: _common_pb2.ObjectRef
    images: _common_pb2.ImageRange
    labels: _common_pb2.ObjectRef
    model: _common_pb2.ModelRef
    def __init__(self, context: _Optional[_Union[_common_pb2.JobContext, _Mapping]] = ..., manifest: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., images: _Optional[_Union[_common_pb2.ImageRange, _Mapping]] = ..., labels: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class EvaluateResponse(_message.Message):
    __slots__ = ("confusion", "true_positives", "false_positives", "false_negatives", "images", "counts_images")
    CONFUSION_FIELD_NUMBER: _ClassVar[int]
    TRUE_POSITIVES_FIELD_NUMBER: _ClassVar[int]
    FALSE_POSITIVES_FIELD_NUMBER: _ClassVar[int]
    FALSE_NEGATIVES_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_IMAGES_FIELD_NUMBER: _ClassVar[int]
    confusion: _common_pb2.ObjectRef
    true_positives: _containers.RepeatedScalarFieldContainer[int]
    false_positives: _containers.RepeatedScalarFieldContainer[int]
    false_negatives: _containers.RepeatedScalarFieldContainer[int]
    images: int
    counts_images: bool
    def __init__(self, confusion: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., true_positives: _Optional[_Iterable[int]] = ..., false_positives: _Optional[_Iterable[int]] = ..., false_negatives: _Optional[_Iterable[int]] = ..., images: _Optional[int] = ..., counts_images: _Optional[bool] = ...) -> None: ...
