from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListWorkersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWorkersResponse(_message.Message):
    __slots__ = ("methods",)
    METHODS_FIELD_NUMBER: _ClassVar[int]
    methods: _containers.RepeatedCompositeFieldContainer[MethodWorkers]
    def __init__(self, methods: _Optional[_Iterable[_Union[MethodWorkers, _Mapping]]] = ...) -> None: ...

class MethodWorkers(_message.Message):
    __slots__ = ("method", "service", "waiting_requests", "waiting_jobs", "taken_jobs", "unseen_seconds", "absent", "queue_missing")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    WAITING_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    WAITING_JOBS_FIELD_NUMBER: _ClassVar[int]
    TAKEN_JOBS_FIELD_NUMBER: _ClassVar[int]
    UNSEEN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MISSING_FIELD_NUMBER: _ClassVar[int]
    method: str
    service: str
    waiting_requests: int
    waiting_jobs: int
    taken_jobs: int
    unseen_seconds: float
    absent: bool
    queue_missing: bool
    def __init__(self, method: _Optional[str] = ..., service: _Optional[str] = ..., waiting_requests: _Optional[int] = ..., waiting_jobs: _Optional[int] = ..., taken_jobs: _Optional[int] = ..., unseen_seconds: _Optional[float] = ..., absent: _Optional[bool] = ..., queue_missing: _Optional[bool] = ...) -> None: ...
