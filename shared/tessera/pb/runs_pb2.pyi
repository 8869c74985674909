import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from tessera.pb import common_pb2 as _common_pb2
from tessera.pb import jobs_pb2 as _jobs_pb2
from tessera.pb import oracle_pb2 as _oracle_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_STATUS_UNSPECIFIED: _ClassVar[RunStatus]
    RUN_STATUS_RUNNING: _ClassVar[RunStatus]
    RUN_STATUS_DONE: _ClassVar[RunStatus]
    RUN_STATUS_FAILED: _ClassVar[RunStatus]
    RUN_STATUS_CANCELLED: _ClassVar[RunStatus]
RUN_STATUS_UNSPECIFIED: RunStatus
RUN_STATUS_RUNNING: RunStatus
RUN_STATUS_DONE: RunStatus
RUN_STATUS_FAILED: RunStatus
RUN_STATUS_CANCELLED: RunStatus

class RunSpec(_message.Message):
    __slots__ = ("run_id", "recipe", "dataset", "pretrained", "seed", "dataset_name", "split_sizes", "class_names", "shard_images", "series", "version")
    class SplitSizesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PRETRAINED_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DATASET_NAME_FIELD_NUMBER: _ClassVar[int]
    SPLIT_SIZES_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    SHARD_IMAGES_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    recipe: str
    dataset: _common_pb2.Dataset
    pretrained: _common_pb2.ObjectRef
    seed: int
    dataset_name: str
    split_sizes: _containers.ScalarMap[str, int]
    class_names: _containers.RepeatedScalarFieldContainer[str]
    shard_images: int
    series: str
    version: int
    def __init__(self, run_id: _Optional[str] = ..., recipe: _Optional[str] = ..., dataset: _Optional[_Union[_common_pb2.Dataset, _Mapping]] = ..., pretrained: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., seed: _Optional[int] = ..., dataset_name: _Optional[str] = ..., split_sizes: _Optional[_Mapping[str, int]] = ..., class_names: _Optional[_Iterable[str]] = ..., shard_images: _Optional[int] = ..., series: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class TakeVersionRequest(_message.Message):
    __slots__ = ("context", "run_id", "round", "series", "manifest", "version")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.JobContext
    run_id: str
    round: int
    series: str
    manifest: _common_pb2.ObjectRef
    version: int
    def __init__(self, context: _Optional[_Union[_common_pb2.JobContext, _Mapping]] = ..., run_id: _Optional[str] = ..., round: _Optional[int] = ..., series: _Optional[str] = ..., manifest: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., version: _Optional[int] = ...) -> None: ...

class TakeVersionResponse(_message.Message):
    __slots__ = ("manifest", "version", "split_sizes", "given")
    class SplitSizesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SPLIT_SIZES_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    manifest: _common_pb2.ObjectRef
    version: int
    split_sizes: _containers.ScalarMap[str, int]
    given: _common_pb2.ObjectRef
    def __init__(self, manifest: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., version: _Optional[int] = ..., split_sizes: _Optional[_Mapping[str, int]] = ..., given: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ...) -> None: ...

class RunEvent(_message.Message):
    __slots__ = ("submitted", "step_started", "job_done", "job_failed", "cancelled", "resumed", "finished", "failed", "archived", "redone", "forgotten", "time")
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    STEP_STARTED_FIELD_NUMBER: _ClassVar[int]
    JOB_DONE_FIELD_NUMBER: _ClassVar[int]
    JOB_FAILED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    ARCHIVED_FIELD_NUMBER: _ClassVar[int]
    REDONE_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    submitted: RunSubmitted
    step_started: StepStarted
    job_done: JobDone
    job_failed: JobFailed
    cancelled: RunCancelled
    resumed: RunResumed
    finished: RunFinished
    failed: RunFailed
    archived: RunArchived
    redone: JobsRedone
    forgotten: RunForgotten
    time: _timestamp_pb2.Timestamp
    def __init__(self, submitted: _Optional[_Union[RunSubmitted, _Mapping]] = ..., step_started: _Optional[_Union[StepStarted, _Mapping]] = ..., job_done: _Optional[_Union[JobDone, _Mapping]] = ..., job_failed: _Optional[_Union[JobFailed, _Mapping]] = ..., cancelled: _Optional[_Union[RunCancelled, _Mapping]] = ..., resumed: _Optional[_Union[RunResumed, _Mapping]] = ..., finished: _Optional[_Union[RunFinished, _Mapping]] = ..., failed: _Optional[_Union[RunFailed, _Mapping]] = ..., archived: _Optional[_Union[RunArchived, _Mapping]] = ..., redone: _Optional[_Union[JobsRedone, _Mapping]] = ..., forgotten: _Optional[_Union[RunForgotten, _Mapping]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RunForgotten(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RunSubmitted(_message.Message):
    __slots__ = ("spec",)
    SPEC_FIELD_NUMBER: _ClassVar[int]
    spec: RunSpec
    def __init__(self, spec: _Optional[_Union[RunSpec, _Mapping]] = ...) -> None: ...

class StepStarted(_message.Message):
    __slots__ = ("round", "step", "job_keys", "job_keys_ref")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    JOB_KEYS_FIELD_NUMBER: _ClassVar[int]
    JOB_KEYS_REF_FIELD_NUMBER: _ClassVar[int]
    round: int
    step: str
    job_keys: _containers.RepeatedScalarFieldContainer[str]
    job_keys_ref: _common_pb2.ObjectRef
    def __init__(self, round: _Optional[int] = ..., step: _Optional[str] = ..., job_keys: _Optional[_Iterable[str]] = ..., job_keys_ref: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ...) -> None: ...

class JobKeys(_message.Message):
    __slots__ = ("job_keys",)
    JOB_KEYS_FIELD_NUMBER: _ClassVar[int]
    job_keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job_keys: _Optional[_Iterable[str]] = ...) -> None: ...

class RunArchived(_message.Message):
    __slots__ = ("segments", "events", "through", "view")
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedCompositeFieldContainer[_common_pb2.ObjectRef]
    events: int
    through: int
    view: RunView
    def __init__(self, segments: _Optional[_Iterable[_Union[_common_pb2.ObjectRef, _Mapping]]] = ..., events: _Optional[int] = ..., through: _Optional[int] = ..., view: _Optional[_Union[RunView, _Mapping]] = ...) -> None: ...

class LogSegment(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[LoggedEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[LoggedEvent, _Mapping]]] = ...) -> None: ...

class LoggedEvent(_message.Message):
    __slots__ = ("sequence", "event")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    event: RunEvent
    def __init__(self, sequence: _Optional[int] = ..., event: _Optional[_Union[RunEvent, _Mapping]] = ...) -> None: ...

class JobDone(_message.Message):
    __slots__ = ("record",)
    RECORD_FIELD_NUMBER: _ClassVar[int]
    record: _jobs_pb2.JobRecord
    def __init__(self, record: _Optional[_Union[_jobs_pb2.JobRecord, _Mapping]] = ...) -> None: ...

class JobFailed(_message.Message):
    __slots__ = ("failure",)
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    failure: _jobs_pb2.JobFailure
    def __init__(self, failure: _Optional[_Union[_jobs_pb2.JobFailure, _Mapping]] = ...) -> None: ...

class RunCancelled(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class RunResumed(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RunFinished(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class RunFailed(_message.Message):
    __slots__ = ("message", "exit_code")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    message: str
    exit_code: int
    def __init__(self, message: _Optional[str] = ..., exit_code: _Optional[int] = ...) -> None: ...

class JobsRedone(_message.Message):
    __slots__ = ("job_keys", "retried_keys", "reason", "asked")
    JOB_KEYS_FIELD_NUMBER: _ClassVar[int]
    RETRIED_KEYS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    job_keys: _containers.RepeatedScalarFieldContainer[str]
    retried_keys: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    asked: bool
    def __init__(self, job_keys: _Optional[_Iterable[str]] = ..., retried_keys: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ..., asked: _Optional[bool] = ...) -> None: ...

class RunView(_message.Message):
    __slots__ = ("spec", "status", "message", "exit_code", "round", "step", "jobs_done", "jobs_total", "rounds", "pool_regions", "pool_pixels", "shards", "wall_seconds", "planned_rounds", "waiting")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    JOBS_DONE_FIELD_NUMBER: _ClassVar[int]
    JOBS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    POOL_REGIONS_FIELD_NUMBER: _ClassVar[int]
    POOL_PIXELS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    WALL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PLANNED_ROUNDS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    spec: RunSpec
    status: RunStatus
    message: str
    exit_code: int
    round: int
    step: str
    jobs_done: int
    jobs_total: int
    rounds: _containers.RepeatedCompositeFieldContainer[RoundView]
    pool_regions: int
    pool_pixels: int
    shards: _containers.RepeatedCompositeFieldContainer[_common_pb2.RegionShard]
    wall_seconds: float
    planned_rounds: int
    waiting: str
    def __init__(self, spec: _Optional[_Union[RunSpec, _Mapping]] = ..., status: _Optional[_Union[RunStatus, str]] = ..., message: _Optional[str] = ..., exit_code: _Optional[int] = ..., round: _Optional[int] = ..., step: _Optional[str] = ..., jobs_done: _Optional[int] = ..., jobs_total: _Optional[int] = ..., rounds: _Optional[_Iterable[_Union[RoundView, _Mapping]]] = ..., pool_regions: _Optional[int] = ..., pool_pixels: _Optional[int] = ..., shards: _Optional[_Iterable[_Union[_common_pb2.RegionShard, _Mapping]]] = ..., wall_seconds: _Optional[float] = ..., planned_rounds: _Optional[int] = ..., waiting: _Optional[str] = ...) -> None: ...

class StepTiming(_message.Message):
    __slots__ = ("step", "wall_seconds", "compute_seconds", "jobs", "images_per_second")
    STEP_FIELD_NUMBER: _ClassVar[int]
    WALL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    step: str
    wall_seconds: float
    compute_seconds: float
    jobs: int
    images_per_second: float
    def __init__(self, step: _Optional[str] = ..., wall_seconds: _Optional[float] = ..., compute_seconds: _Optional[float] = ..., jobs: _Optional[int] = ..., images_per_second: _Optional[float] = ...) -> None: ...

class SplitCounts(_message.Message):
    __slots__ = ("split", "true_positives", "false_positives", "false_negatives", "images", "confusion", "counts_images")
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    TRUE_POSITIVES_FIELD_NUMBER: _ClassVar[int]
    FALSE_POSITIVES_FIELD_NUMBER: _ClassVar[int]
    FALSE_NEGATIVES_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    CONFUSION_FIELD_NUMBER: _ClassVar[int]
    COUNTS_IMAGES_FIELD_NUMBER: _ClassVar[int]
    split: str
    true_positives: _containers.RepeatedScalarFieldContainer[int]
    false_positives: _containers.RepeatedScalarFieldContainer[int]
    false_negatives: _containers.RepeatedScalarFieldContainer[int]
    images: int
    confusion: _containers.RepeatedCompositeFieldContainer[_common_pb2.ObjectRef]
    counts_images: bool
    def __init__(self, split: _Optional[str] = ..., true_positives: _Optional[_Iterable[int]] = ..., false_positives: _Optional[_Iterable[int]] = ..., false_negatives: _Optional[_Iterable[int]] = ..., images: _Optional[int] = ..., confusion: _Optional[_Iterable[_Union[_common_pb2.ObjectRef, _Mapping]]] = ..., counts_images: _Optional[bool] = ...) -> None: ...

class RoundView(_message.Message):
    __slots__ = ("round", "selection_sha256", "selection", "ledger", "cost", "model", "history", "kept_epoch", "splits", "timings", "embedding", "candidates", "scores", "complete", "notes", "pool_embedding", "reported", "losses", "extras", "data", "given")
    class ExtrasEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _common_pb2.ObjectRef
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ...) -> None: ...
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SELECTION_SHA256_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    KEPT_EPOCH_FIELD_NUMBER: _ClassVar[int]
    SPLITS_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    POOL_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    REPORTED_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    EXTRAS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    round: int
    selection_sha256: str
    selection: _common_pb2.ObjectRef
    ledger: _common_pb2.ObjectRef
    cost: _oracle_pb2.Cost
    model: _common_pb2.ModelRef
    history: _common_pb2.ObjectRef
    kept_epoch: int
    splits: _containers.RepeatedCompositeFieldContainer[SplitCounts]
    timings: _containers.RepeatedCompositeFieldContainer[StepTiming]
    embedding: _common_pb2.ObjectRef
    candidates: _common_pb2.ObjectRef
    scores: _containers.RepeatedCompositeFieldContainer[_common_pb2.ObjectRef]
    complete: bool
    notes: _containers.RepeatedScalarFieldContainer[str]
    pool_embedding: _common_pb2.ObjectRef
    reported: _common_pb2.ModelRef
    losses: _common_pb2.ObjectRef
    extras: _containers.MessageMap[str, _common_pb2.ObjectRef]
    data: DataTaken
    given: _common_pb2.ObjectRef
    def __init__(self, round: _Optional[int] = ..., selection_sha256: _Optional[str] = ..., selection: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., ledger: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., cost: _Optional[_Union[_oracle_pb2.Cost, _Mapping]] = ..., model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., history: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., kept_epoch: _Optional[int] = ..., splits: _Optional[_Iterable[_Union[SplitCounts, _Mapping]]] = ..., timings: _Optional[_Iterable[_Union[StepTiming, _Mapping]]] = ..., embedding: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., candidates: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., scores: _Optional[_Iterable[_Union[_common_pb2.ObjectRef, _Mapping]]] = ..., complete: _Optional[bool] = ..., notes: _Optional[_Iterable[str]] = ..., pool_embedding: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., reported: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., losses: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., extras: _Optional[_Mapping[str, _common_pb2.ObjectRef]] = ..., data: _Optional[_Union[DataTaken, _Mapping]] = ..., given: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ...) -> None: ...

class DataTaken(_message.Message):
    __slots__ = ("version", "manifest", "images", "regions", "pixels")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    version: int
    manifest: _common_pb2.ObjectRef
    images: int
    regions: int
    pixels: int
    def __init__(self, version: _Optional[int] = ..., manifest: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., images: _Optional[int] = ..., regions: _Optional[int] = ..., pixels: _Optional[int] = ...) -> None: ...

class SubmitRunRequest(_message.Message):
    __slots__ = ("spec",)
    SPEC_FIELD_NUMBER: _ClassVar[int]
    spec: RunSpec
    def __init__(self, spec: _Optional[_Union[RunSpec, _Mapping]] = ...) -> None: ...

class SubmitRunResponse(_message.Message):
    __slots__ = ("run", "note")
    RUN_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    run: RunView
    note: str
    def __init__(self, run: _Optional[_Union[RunView, _Mapping]] = ..., note: _Optional[str] = ...) -> None: ...

class GetRunRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class GetRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: RunView
    def __init__(self, run: _Optional[_Union[RunView, _Mapping]] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("page_token",)
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_token: str
    def __init__(self, page_token: _Optional[str] = ...) -> None: ...

class ListRunsResponse(_message.Message):
    __slots__ = ("runs", "next_page_token")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[RunView]
    next_page_token: str
    def __init__(self, runs: _Optional[_Iterable[_Union[RunView, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchRunRequest(_message.Message):
    __slots__ = ("run_id", "deltas")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    DELTAS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    deltas: bool
    def __init__(self, run_id: _Optional[str] = ..., deltas: _Optional[bool] = ...) -> None: ...

class WatchRunResponse(_message.Message):
    __slots__ = ("run", "fraction", "note", "delta")
    RUN_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    run: RunView
    fraction: float
    note: str
    delta: bool
    def __init__(self, run: _Optional[_Union[RunView, _Mapping]] = ..., fraction: _Optional[float] = ..., note: _Optional[str] = ..., delta: _Optional[bool] = ...) -> None: ...

class CancelRunRequest(_message.Message):
    __slots__ = ("run_id", "reason")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    reason: str
    def __init__(self, run_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: RunView
    def __init__(self, run: _Optional[_Union[RunView, _Mapping]] = ...) -> None: ...

class ResumeRunRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class ResumeRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: RunView
    def __init__(self, run: _Optional[_Union[RunView, _Mapping]] = ...) -> None: ...

class ListObjectsRequest(_message.Message):
    __slots__ = ("run_id", "kind", "round", "page_size", "page_token")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    kind: str
    round: int
    page_size: int
    page_token: str
    def __init__(self, run_id: _Optional[str] = ..., kind: _Optional[str] = ..., round: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListObjectsResponse(_message.Message):
    __slots__ = ("shards", "objects", "next_page_token")
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    shards: _containers.RepeatedCompositeFieldContainer[_common_pb2.RegionShard]
    objects: _containers.RepeatedCompositeFieldContainer[_common_pb2.ObjectRef]
    next_page_token: str
    def __init__(self, shards: _Optional[_Iterable[_Union[_common_pb2.RegionShard, _Mapping]]] = ..., objects: _Optional[_Iterable[_Union[_common_pb2.ObjectRef, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RedoJobRequest(_message.Message):
    __slots__ = ("run_id", "job_key")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_KEY_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    job_key: str
    def __init__(self, run_id: _Optional[str] = ..., job_key: _Optional[str] = ...) -> None: ...

class RedoJobResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: RunView
    def __init__(self, run: _Optional[_Union[RunView, _Mapping]] = ...) -> None: ...
