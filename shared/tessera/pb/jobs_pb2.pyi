from tessera.pb import common_pb2 as _common_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobEnvelope(_message.Message):
    __slots__ = ("job_key", "method", "request", "run_id", "request_ref", "algorithm", "distrusted")
    JOB_KEY_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_REF_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    DISTRUSTED_FIELD_NUMBER: _ClassVar[int]
    job_key: str
    method: str
    request: bytes
    run_id: str
    request_ref: _common_pb2.ObjectRef
    algorithm: str
    distrusted: str
    def __init__(self, job_key: _Optional[str] = ..., method: _Optional[str] = ..., request: _Optional[bytes] = ..., run_id: _Optional[str] = ..., request_ref: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., algorithm: _Optional[str] = ..., distrusted: _Optional[str] = ...) -> None: ...

class JobRecord(_message.Message):
    __slots__ = ("job_key", "method", "algorithm", "response", "compute_seconds", "job_seconds", "worker", "attempt", "wrote", "seal", "images_per_second")
    JOB_KEY_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    JOB_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    WROTE_FIELD_NUMBER: _ClassVar[int]
    SEAL_FIELD_NUMBER: _ClassVar[int]
    IMAGES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    job_key: str
    method: str
    algorithm: str
    response: bytes
    compute_seconds: float
    job_seconds: float
    worker: str
    attempt: int
    wrote: bytes
    seal: bytes
    images_per_second: float
    def __init__(self, job_key: _Optional[str] = ..., method: _Optional[str] = ..., algorithm: _Optional[str] = ..., response: _Optional[bytes] = ..., compute_seconds: _Optional[float] = ..., job_seconds: _Optional[float] = ..., worker: _Optional[str] = ..., attempt: _Optional[int] = ..., wrote: _Optional[bytes] = ..., seal: _Optional[bytes] = ..., images_per_second: _Optional[float] = ...) -> None: ...

class JobFailure(_message.Message):
    __slots__ = ("job_key", "method", "reason", "message", "attempts", "envelope", "exit_code", "object")
    JOB_KEY_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    job_key: str
    method: str
    reason: str
    message: str
    attempts: int
    envelope: JobEnvelope
    exit_code: int
    object: _common_pb2.ObjectRef
    def __init__(self, job_key: _Optional[str] = ..., method: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., attempts: _Optional[int] = ..., envelope: _Optional[_Union[JobEnvelope, _Mapping]] = ..., exit_code: _Optional[int] = ..., object: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ...) -> None: ...
