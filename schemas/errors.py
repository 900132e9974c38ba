"""Errors a job or a request can end with: a stable code, a sentence for people, and whether a retry can help.

JobError
├── InvalidInput            the request is wrong: names the field and the remedy
│   ├── DocumentRefused     one document of many is wrong; the others go on
│   └── BatchInvalid        lines of a batch's input are no requests: names them
├── NotFound                what was named does not exist for this tenant
├── Conflict                it exists, but not in the state the request needs
├── DependencyMissing       this process lacks an optional package group
├── DependencyUnavailable   an outside system does not answer; retryable, and no attempt is counted
│   ├── EngineOverloaded    it answers, but has no capacity; retryable
│   └── EngineFailed        it failed on the request; retryable
├── EngineRefused           the engine refuses this request; another one may pass
│   └── EngineClosed        it refuses every request: key, address or model is wrong
├── EngineTrouble           it answered with an error that may pass; retryable, and each attempt counts
│   └── EngineReplyBroken   its answer is unusable; retryable
├── EngineReplyEmpty        it replied without text
├── EngineReplyCut          it reached `max_tokens` before it began to answer
├── EngineRefusedToAnswer   the model, or a filter of the engine, refuses this question
├── TrainingFailed          training cannot go on, and another try would end the same way
│   └── TrainingBroke       the process that trains died or lacks something of its machine; retryable
├── BenchmarkFailed         lm-eval cannot go on with a task, and another try would end the same way
│   └── BenchmarkBroke      its process died; retryable
├── SearchFailed            no trial of a search for hyperparameters ended well
├── StorageFull             the tenant has as many bytes in object storage as it may
├── LeaseLost               another worker owns the job now; the result is thrown away
├── StageTimeout            the stage ran longer than `timeout_s`; retryable
├── FanOutRefused           a stage made invalid children; names what is wrong with the first of them
├── CarryInvalid            what one stage handed on does not fit the next; retryable: another version may know it
├── ModelNotServed          this process does not run the job's model; retryable: another version may
├── StageUnknown            this process does not know the job's stage; retryable for the same reason
├── JobExpired              nobody could run it within `expires_in_s`
├── PortNotOpen             a stage uses a port that it did not declare; a defect of ours
└── InternalError           a defect of ours; retryable, and logged with its traceback

No error knows an HTTP status: `gateway/http/errors.py` holds the only mapping.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar


class JobError(Exception):
    """The root of every error WeLIP raises on purpose."""

    code: ClassVar[str] = "job_error"
    retryable: ClassVar[bool] = False
    retry_after: timedelta | None = None
    """When a retry may help, if the outside system said so; otherwise the backoff decides."""

    def __init__(self, message: str, *, code: str | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.reason = code or self.code
        """The stable code shown to the owner: the class's own, or a narrower one given here."""


class InvalidInput(JobError):
    """The request is wrong; `field` names the part at fault and the message says what to do."""

    code = "invalid_input"


class DocumentRefused(InvalidInput):
    """One document cannot be indexed; the others of the same job are not affected."""

    code = "document_refused"


@dataclass(frozen=True, slots=True)
class LineError:
    """What is wrong with a line of a file. `line` counts from 1; `param` is the part of the line at fault."""

    line: int
    code: str
    message: str
    param: str | None


class BatchInvalid(InvalidInput):
    """Lines of a batch's input are no requests, so nothing was begun; `lines` are the first of them."""

    code = "batch_invalid"

    def __init__(self, message: str, lines: Sequence[LineError] = ()) -> None:
        super().__init__(message, field="input.input_file_id")
        self.lines = lines


class NotFound(JobError):
    """What was named does not exist, or belongs to another tenant."""

    code = "not_found"


class Conflict(JobError):
    """The thing exists, but not in the state that the request needs."""

    code = "conflict"


class DependencyMissing(JobError):
    """This process lacks an optional package group; the message names the group to install."""

    code = "dependency_missing"


class DependencyUnavailable(JobError):
    """An outside system (Postgres, Kafka, object storage, vector index, engine) does not answer."""

    code = "dependency_unavailable"
    retryable = True


class EngineOverloaded(DependencyUnavailable):
    """The engine refused the request for lack of capacity."""

    code = "engine_overloaded"

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineFailed(DependencyUnavailable):
    """The engine failed on the request (HTTP 500): it is down, or something in the request is too much for it."""


class EngineDied(DependencyUnavailable):
    """The engine in this process died. The process ends too, and another one takes its jobs."""

    code = "engine_died"


class EngineRefused(JobError):
    """The engine read the request and refuses it; the message quotes the engine."""

    code = "engine_refused"


class EngineClosed(EngineRefused):
    """The engine refuses every request of this deployment: the key, the address or the model is wrong."""


class EngineTrouble(JobError):
    """The engine answered with an error that may pass. It answers, so this is not an outage: attempts are counted."""

    code = "engine_error"
    retryable = True

    def __init__(self, message: str, *, code: str | None = None, retry_after: timedelta | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class EngineReplyBroken(EngineTrouble):
    """The engine's answer is unusable: not JSON, another protocol, or an error without a name."""


class EngineReplyEmpty(JobError):
    """The engine's reply holds no text."""

    code = "engine_reply_empty"


class EngineReplyCut(JobError):
    """The engine reached `max_tokens` before it wrote a word of the answer; models that think first may do this."""

    code = "engine_reply_cut"


class EngineRefusedToAnswer(JobError):
    """The model, or a filter of its engine, refuses to answer this question."""

    code = "engine_refused_answer"


class TrainingFailed(JobError):
    """Training cannot go on: no memory, a loss that is no number, a base model that cannot be had."""

    code = "training_failed"


class TrainingBroke(TrainingFailed):
    """The process that trains died, or its machine lacks something that another may have."""

    code = "training_broke"
    retryable = True


class BenchmarkFailed(JobError):
    """lm-eval cannot go on: a task that is not there or not whole, data that cannot be had."""

    code = "benchmark_failed"


class BenchmarkBroke(BenchmarkFailed):
    """The process of lm-eval died."""

    code = "benchmark_broke"
    retryable = True


class SearchFailed(JobError):
    """A search for hyperparameters found none, because no trial ended well."""

    code = "trials_failed"


class StorageFull(JobError):
    """The tenant's files, and what its jobs store beside them, have as many bytes as they may."""

    code = "storage_full"


class LeaseLost(JobError):
    """The job no longer belongs to this worker, and its results are discarded."""

    code = "lease_lost"


class StageTimeout(JobError):
    """The stage ran longer than the job's `timeout_s`."""

    code = "timeout"
    retryable = True


class FanOutRefused(JobError):
    """A stage made invalid children; code and message name what is wrong, and with which child."""

    code = "fan_out_refused"


class CarryInvalid(JobError):
    """What one stage handed on does not fit the next; `field` names the part at fault.

    Retryable: while workers of two versions run, one of the other version may accept it.
    """

    code = "carry_invalid"
    retryable = True


class StageUnknown(JobError):
    """This process does not know the job's present or next stage; another version may."""

    code = "stage_unknown"
    retryable = True


class ModelNotServed(JobError):
    """The worker that took the job does not run its model; it was taken out of the models file, or is not yet in it."""

    code = "model_not_served"
    retryable = True


class JobExpired(JobError):
    """The job was not finished within its `expires_in_s`."""

    code = "expired"


class PortNotOpen(JobError):
    """A stage touched a port that is not among its `NEEDS`, or that its process did not open. No retry can help."""

    code = "port_not_open"


class InternalError(JobError):
    """A defect in WeLIP itself; the worker's log holds the traceback."""

    code = "internal_error"
    retryable = True
