import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from tessera.pb import common_pb2 as _common_pb2
from tessera.pb import selector_pb2 as _selector_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RoundState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUND_STATE_UNSPECIFIED: _ClassVar[RoundState]
    ROUND_STATE_OPEN: _ClassVar[RoundState]
    ROUND_STATE_CLOSING: _ClassVar[RoundState]
    ROUND_STATE_CLOSED: _ClassVar[RoundState]
    ROUND_STATE_PAUSED: _ClassVar[RoundState]

class AnswerOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANSWER_OUTCOME_UNSPECIFIED: _ClassVar[AnswerOutcome]
    ANSWER_OUTCOME_COUNTED: _ClassVar[AnswerOutcome]
    ANSWER_OUTCOME_NOT_NEEDED: _ClassVar[AnswerOutcome]
    ANSWER_OUTCOME_LATE: _ClassVar[AnswerOutcome]
    ANSWER_OUTCOME_REPLACED: _ClassVar[AnswerOutcome]

class NextWait(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NEXT_WAIT_UNSPECIFIED: _ClassVar[NextWait]
    NEXT_WAIT_HELD: _ClassVar[NextWait]
    NEXT_WAIT_OTHERS: _ClassVar[NextWait]
    NEXT_WAIT_CLOSED: _ClassVar[NextWait]
    NEXT_WAIT_NO_ROUND: _ClassVar[NextWait]
    NEXT_WAIT_SPENT: _ClassVar[NextWait]

class QuestionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUESTION_STATE_UNSPECIFIED: _ClassVar[QuestionState]
    QUESTION_STATE_FREE: _ClassVar[QuestionState]
    QUESTION_STATE_LEASED: _ClassVar[QuestionState]
    QUESTION_STATE_ANSWERED: _ClassVar[QuestionState]
    QUESTION_STATE_SKIPPED: _ClassVar[QuestionState]
ROUND_STATE_UNSPECIFIED: RoundState
ROUND_STATE_OPEN: RoundState
ROUND_STATE_CLOSING: RoundState
ROUND_STATE_CLOSED: RoundState
ROUND_STATE_PAUSED: RoundState
ANSWER_OUTCOME_UNSPECIFIED: AnswerOutcome
ANSWER_OUTCOME_COUNTED: AnswerOutcome
ANSWER_OUTCOME_NOT_NEEDED: AnswerOutcome
ANSWER_OUTCOME_LATE: AnswerOutcome
ANSWER_OUTCOME_REPLACED: AnswerOutcome
NEXT_WAIT_UNSPECIFIED: NextWait
NEXT_WAIT_HELD: NextWait
NEXT_WAIT_OTHERS: NextWait
NEXT_WAIT_CLOSED: NextWait
NEXT_WAIT_NO_ROUND: NextWait
NEXT_WAIT_SPENT: NextWait
QUESTION_STATE_UNSPECIFIED: QuestionState
QUESTION_STATE_FREE: QuestionState
QUESTION_STATE_LEASED: QuestionState
QUESTION_STATE_ANSWERED: QuestionState
QUESTION_STATE_SKIPPED: QuestionState

class CollectRequest(_message.Message):
    __slots__ = ("context", "questions", "manifest", "query", "oracle", "budget")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    ORACLE_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.JobContext
    questions: _common_pb2.ObjectRef
    manifest: _common_pb2.ObjectRef
    query: _common_pb2.AxisValue
    oracle: _common_pb2.AxisValue
    budget: _selector_pb2.Budget
    def __init__(self, context: _Optional[_Union[_common_pb2.JobContext, _Mapping]] = ..., questions: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., manifest: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., query: _Optional[_Union[_common_pb2.AxisValue, _Mapping]] = ..., oracle: _Optional[_Union[_common_pb2.AxisValue, _Mapping]] = ..., budget: _Optional[_Union[_selector_pb2.Budget, _Mapping]] = ...) -> None: ...

class CollectResponse(_message.Message):
    __slots__ = ("answers", "questions", "answered", "skipped", "left", "reason", "measured_seconds", "measured_clicks")
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MEASURED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_CLICKS_FIELD_NUMBER: _ClassVar[int]
    answers: _common_pb2.ObjectRef
    questions: int
    answered: int
    skipped: int
    left: int
    reason: str
    measured_seconds: float
    measured_clicks: int
    def __init__(self, answers: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., questions: _Optional[int] = ..., answered: _Optional[int] = ..., skipped: _Optional[int] = ..., left: _Optional[int] = ..., reason: _Optional[str] = ..., measured_seconds: _Optional[float] = ..., measured_clicks: _Optional[int] = ...) -> None: ...

class AnswerClass(_message.Message):
    __slots__ = ("index", "name", "color")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    index: int
    name: str
    color: str
    def __init__(self, index: _Optional[int] = ..., name: _Optional[str] = ..., color: _Optional[str] = ...) -> None: ...

class QuestionRound(_message.Message):
    __slots__ = ("key", "run_ids", "round", "state", "query", "oracle", "classes", "ignore_index", "questions", "overlap", "opened", "dataset_name")
    KEY_FIELD_NUMBER: _ClassVar[int]
    RUN_IDS_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    ORACLE_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    IGNORE_INDEX_FIELD_NUMBER: _ClassVar[int]
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    DATASET_NAME_FIELD_NUMBER: _ClassVar[int]
    key: str
    run_ids: _containers.RepeatedScalarFieldContainer[str]
    round: int
    state: RoundState
    query: _common_pb2.AxisValue
    oracle: _common_pb2.AxisValue
    classes: _containers.RepeatedCompositeFieldContainer[AnswerClass]
    ignore_index: int
    questions: int
    overlap: int
    opened: _timestamp_pb2.Timestamp
    dataset_name: str
    def __init__(self, key: _Optional[str] = ..., run_ids: _Optional[_Iterable[str]] = ..., round: _Optional[int] = ..., state: _Optional[_Union[RoundState, str]] = ..., query: _Optional[_Union[_common_pb2.AxisValue, _Mapping]] = ..., oracle: _Optional[_Union[_common_pb2.AxisValue, _Mapping]] = ..., classes: _Optional[_Iterable[_Union[AnswerClass, _Mapping]]] = ..., ignore_index: _Optional[int] = ..., questions: _Optional[int] = ..., overlap: _Optional[int] = ..., opened: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., dataset_name: _Optional[str] = ...) -> None: ...

class BoxMask(_message.Message):
    __slots__ = ("counts",)
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, counts: _Optional[_Iterable[int]] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("y0", "x0", "y1", "x1")
    Y0_FIELD_NUMBER: _ClassVar[int]
    X0_FIELD_NUMBER: _ClassVar[int]
    Y1_FIELD_NUMBER: _ClassVar[int]
    X1_FIELD_NUMBER: _ClassVar[int]
    y0: int
    x0: int
    y1: int
    x1: int
    def __init__(self, y0: _Optional[int] = ..., x0: _Optional[int] = ..., y1: _Optional[int] = ..., x1: _Optional[int] = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("y", "x")
    Y_FIELD_NUMBER: _ClassVar[int]
    X_FIELD_NUMBER: _ClassVar[int]
    y: int
    x: int
    def __init__(self, y: _Optional[int] = ..., x: _Optional[int] = ...) -> None: ...

class PersonQuestion(_message.Message):
    __slots__ = ("question_id", "rank", "image_id", "image", "image_width", "image_height", "region_id", "box", "region", "points", "prediction", "superpixels", "sequence", "time", "pixels")
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    IMAGE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    REGION_ID_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    SUPERPIXELS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    question_id: str
    rank: int
    image_id: str
    image: _common_pb2.ObjectRef
    image_width: int
    image_height: int
    region_id: int
    box: Box
    region: BoxMask
    points: _containers.RepeatedCompositeFieldContainer[Point]
    prediction: _common_pb2.ObjectRef
    superpixels: _common_pb2.ObjectRef
    sequence: str
    time: float
    pixels: int
    def __init__(self, question_id: _Optional[str] = ..., rank: _Optional[int] = ..., image_id: _Optional[str] = ..., image: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., image_width: _Optional[int] = ..., image_height: _Optional[int] = ..., region_id: _Optional[int] = ..., box: _Optional[_Union[Box, _Mapping]] = ..., region: _Optional[_Union[BoxMask, _Mapping]] = ..., points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., prediction: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., superpixels: _Optional[_Union[_common_pb2.ObjectRef, _Mapping]] = ..., sequence: _Optional[str] = ..., time: _Optional[float] = ..., pixels: _Optional[int] = ...) -> None: ...

class QuestionLease(_message.Message):
    __slots__ = ("question", "expires", "answered")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    question: PersonQuestion
    expires: _timestamp_pb2.Timestamp
    answered: PersonAnswer
    def __init__(self, question: _Optional[_Union[PersonQuestion, _Mapping]] = ..., expires: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., answered: _Optional[_Union[PersonAnswer, _Mapping]] = ...) -> None: ...

class ClassesAnswer(_message.Message):
    __slots__ = ("classes",)
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    classes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, classes: _Optional[_Iterable[int]] = ...) -> None: ...

class RasterAnswer(_message.Message):
    __slots__ = ("values", "lengths")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    lengths: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[int]] = ..., lengths: _Optional[_Iterable[int]] = ...) -> None: ...

class PointsAnswer(_message.Message):
    __slots__ = ("classes",)
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    classes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, classes: _Optional[_Iterable[int]] = ...) -> None: ...

class PersonAnswer(_message.Message):
    __slots__ = ("answer_id", "classes", "raster", "points", "skipped", "seconds", "clicks", "page_version", "drawing")
    ANSWER_ID_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    RASTER_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    CLICKS_FIELD_NUMBER: _ClassVar[int]
    PAGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DRAWING_FIELD_NUMBER: _ClassVar[int]
    answer_id: str
    classes: ClassesAnswer
    raster: RasterAnswer
    points: PointsAnswer
    skipped: str
    seconds: float
    clicks: int
    page_version: str
    drawing: bytes
    def __init__(self, answer_id: _Optional[str] = ..., classes: _Optional[_Union[ClassesAnswer, _Mapping]] = ..., raster: _Optional[_Union[RasterAnswer, _Mapping]] = ..., points: _Optional[_Union[PointsAnswer, _Mapping]] = ..., skipped: _Optional[str] = ..., seconds: _Optional[float] = ..., clicks: _Optional[int] = ..., page_version: _Optional[str] = ..., drawing: _Optional[bytes] = ...) -> None: ...

class RoundProgress(_message.Message):
    __slots__ = ("questions", "answered", "skipped", "leased", "answers", "seconds", "clicks", "agreement", "disputed", "annotators", "budget_unit", "budget_amount", "budget_spent", "last_answer")
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    CLICKS_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    DISPUTED_FIELD_NUMBER: _ClassVar[int]
    ANNOTATORS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_UNIT_FIELD_NUMBER: _ClassVar[int]
    BUDGET_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    BUDGET_SPENT_FIELD_NUMBER: _ClassVar[int]
    LAST_ANSWER_FIELD_NUMBER: _ClassVar[int]
    questions: int
    answered: int
    skipped: int
    leased: int
    answers: int
    seconds: float
    clicks: int
    agreement: float
    disputed: int
    annotators: _containers.RepeatedCompositeFieldContainer[AnnotatorProgress]
    budget_unit: str
    budget_amount: float
    budget_spent: float
    last_answer: _timestamp_pb2.Timestamp
    def __init__(self, questions: _Optional[int] = ..., answered: _Optional[int] = ..., skipped: _Optional[int] = ..., leased: _Optional[int] = ..., answers: _Optional[int] = ..., seconds: _Optional[float] = ..., clicks: _Optional[int] = ..., agreement: _Optional[float] = ..., disputed: _Optional[int] = ..., annotators: _Optional[_Iterable[_Union[AnnotatorProgress, _Mapping]]] = ..., budget_unit: _Optional[str] = ..., budget_amount: _Optional[float] = ..., budget_spent: _Optional[float] = ..., last_answer: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AnnotatorProgress(_message.Message):
    __slots__ = ("annotator", "answered", "skipped", "seconds", "clicks", "leased")
    ANNOTATOR_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    CLICKS_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    annotator: str
    answered: int
    skipped: int
    seconds: float
    clicks: int
    leased: int
    def __init__(self, annotator: _Optional[str] = ..., answered: _Optional[int] = ..., skipped: _Optional[int] = ..., seconds: _Optional[float] = ..., clicks: _Optional[int] = ..., leased: _Optional[int] = ...) -> None: ...

class ListRoundsRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class ListRoundsResponse(_message.Message):
    __slots__ = ("rounds",)
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    rounds: _containers.RepeatedCompositeFieldContainer[QuestionRound]
    def __init__(self, rounds: _Optional[_Iterable[_Union[QuestionRound, _Mapping]]] = ...) -> None: ...

class NextQuestionsRequest(_message.Message):
    __slots__ = ("run_id", "round_key", "annotator", "count", "lease_seconds")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_KEY_FIELD_NUMBER: _ClassVar[int]
    ANNOTATOR_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    round_key: str
    annotator: str
    count: int
    lease_seconds: float
    def __init__(self, run_id: _Optional[str] = ..., round_key: _Optional[str] = ..., annotator: _Optional[str] = ..., count: _Optional[int] = ..., lease_seconds: _Optional[float] = ...) -> None: ...

class NextQuestionsResponse(_message.Message):
    __slots__ = ("leases", "round", "wait", "progress")
    LEASES_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[QuestionLease]
    round: QuestionRound
    wait: NextWait
    progress: RoundProgress
    def __init__(self, leases: _Optional[_Iterable[_Union[QuestionLease, _Mapping]]] = ..., round: _Optional[_Union[QuestionRound, _Mapping]] = ..., wait: _Optional[_Union[NextWait, str]] = ..., progress: _Optional[_Union[RoundProgress, _Mapping]] = ...) -> None: ...

class RenewLeasesRequest(_message.Message):
    __slots__ = ("annotator", "question_ids", "lease_seconds")
    ANNOTATOR_FIELD_NUMBER: _ClassVar[int]
    QUESTION_IDS_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    annotator: str
    question_ids: _containers.RepeatedScalarFieldContainer[str]
    lease_seconds: float
    def __init__(self, annotator: _Optional[str] = ..., question_ids: _Optional[_Iterable[str]] = ..., lease_seconds: _Optional[float] = ...) -> None: ...

class RenewLeasesResponse(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[QuestionLease]
    def __init__(self, leases: _Optional[_Iterable[_Union[QuestionLease, _Mapping]]] = ...) -> None: ...

class ReleaseQuestionsRequest(_message.Message):
    __slots__ = ("annotator", "question_ids")
    ANNOTATOR_FIELD_NUMBER: _ClassVar[int]
    QUESTION_IDS_FIELD_NUMBER: _ClassVar[int]
    annotator: str
    question_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, annotator: _Optional[str] = ..., question_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ReleaseQuestionsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AnswerQuestionRequest(_message.Message):
    __slots__ = ("question_id", "annotator", "answer")
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    ANNOTATOR_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    question_id: str
    annotator: str
    answer: PersonAnswer
    def __init__(self, question_id: _Optional[str] = ..., annotator: _Optional[str] = ..., answer: _Optional[_Union[PersonAnswer, _Mapping]] = ...) -> None: ...

class AnswerQuestionResponse(_message.Message):
    __slots__ = ("outcome", "progress")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    outcome: AnswerOutcome
    progress: RoundProgress
    def __init__(self, outcome: _Optional[_Union[AnswerOutcome, str]] = ..., progress: _Optional[_Union[RoundProgress, _Mapping]] = ...) -> None: ...

class CorrectAnswerRequest(_message.Message):
    __slots__ = ("question_id", "annotator", "answer")
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    ANNOTATOR_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    question_id: str
    annotator: str
    answer: PersonAnswer
    def __init__(self, question_id: _Optional[str] = ..., annotator: _Optional[str] = ..., answer: _Optional[_Union[PersonAnswer, _Mapping]] = ...) -> None: ...

class CorrectAnswerResponse(_message.Message):
    __slots__ = ("outcome", "progress")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    outcome: AnswerOutcome
    progress: RoundProgress
    def __init__(self, outcome: _Optional[_Union[AnswerOutcome, str]] = ..., progress: _Optional[_Union[RoundProgress, _Mapping]] = ...) -> None: ...

class SkipQuestionRequest(_message.Message):
    __slots__ = ("question_id", "annotator", "answer_id", "reason", "seconds", "clicks", "page_version")
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    ANNOTATOR_FIELD_NUMBER: _ClassVar[int]
    ANSWER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    CLICKS_FIELD_NUMBER: _ClassVar[int]
    PAGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    question_id: str
    annotator: str
    answer_id: str
    reason: str
    seconds: float
    clicks: int
    page_version: str
    def __init__(self, question_id: _Optional[str] = ..., annotator: _Optional[str] = ..., answer_id: _Optional[str] = ..., reason: _Optional[str] = ..., seconds: _Optional[float] = ..., clicks: _Optional[int] = ..., page_version: _Optional[str] = ...) -> None: ...

class SkipQuestionResponse(_message.Message):
    __slots__ = ("outcome", "progress")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    outcome: AnswerOutcome
    progress: RoundProgress
    def __init__(self, outcome: _Optional[_Union[AnswerOutcome, str]] = ..., progress: _Optional[_Union[RoundProgress, _Mapping]] = ...) -> None: ...

class CloseRoundRequest(_message.Message):
    __slots__ = ("run_id", "round_key", "reason")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_KEY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    round_key: str
    reason: str
    def __init__(self, run_id: _Optional[str] = ..., round_key: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CloseRoundResponse(_message.Message):
    __slots__ = ("round", "progress")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    round: QuestionRound
    progress: RoundProgress
    def __init__(self, round: _Optional[_Union[QuestionRound, _Mapping]] = ..., progress: _Optional[_Union[RoundProgress, _Mapping]] = ...) -> None: ...

class GetProgressRequest(_message.Message):
    __slots__ = ("run_id", "round_key")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_KEY_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    round_key: str
    def __init__(self, run_id: _Optional[str] = ..., round_key: _Optional[str] = ...) -> None: ...

class GetProgressResponse(_message.Message):
    __slots__ = ("round", "progress")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    round: QuestionRound
    progress: RoundProgress
    def __init__(self, round: _Optional[_Union[QuestionRound, _Mapping]] = ..., progress: _Optional[_Union[RoundProgress, _Mapping]] = ...) -> None: ...

class ListQuestionsRequest(_message.Message):
    __slots__ = ("run_id", "round_key", "page_size", "page_token", "with_answers")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_KEY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    WITH_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    round_key: str
    page_size: int
    page_token: str
    with_answers: bool
    def __init__(self, run_id: _Optional[str] = ..., round_key: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., with_answers: _Optional[bool] = ...) -> None: ...

class QuestionView(_message.Message):
    __slots__ = ("question", "state", "holders", "answers")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    question: PersonQuestion
    state: QuestionState
    holders: _containers.RepeatedScalarFieldContainer[str]
    answers: _containers.RepeatedCompositeFieldContainer[AnnotatorAnswer]
    def __init__(self, question: _Optional[_Union[PersonQuestion, _Mapping]] = ..., state: _Optional[_Union[QuestionState, str]] = ..., holders: _Optional[_Iterable[str]] = ..., answers: _Optional[_Iterable[_Union[AnnotatorAnswer, _Mapping]]] = ...) -> None: ...

class AnnotatorAnswer(_message.Message):
    __slots__ = ("annotator", "answer", "time")
    ANNOTATOR_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    annotator: str
    answer: PersonAnswer
    time: _timestamp_pb2.Timestamp
    def __init__(self, annotator: _Optional[str] = ..., answer: _Optional[_Union[PersonAnswer, _Mapping]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListQuestionsResponse(_message.Message):
    __slots__ = ("questions", "next_page_token")
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    questions: _containers.RepeatedCompositeFieldContainer[QuestionView]
    next_page_token: str
    def __init__(self, questions: _Optional[_Iterable[_Union[QuestionView, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
