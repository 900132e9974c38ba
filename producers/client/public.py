"""The names that users import from `welip`, each from the module that defines it."""

from producers.client.adapters import Adapter
from producers.client.aliases import Model, ModelAlias, ModelDiff, Promotion
from producers.client.async_ import AsyncClient
from producers.client.batches import Batch
from producers.client.benchmarks import Benchmark
from producers.client.datasets import DatasetNotFound, DatasetQuality, Synthesis
from producers.client.dead import DeadLetter
from producers.client.errors import (
    ApiError,
    ConnectionFailed,
    JobFailed,
    StreamBroken,
    StreamRestarted,
    UnexpectedAnswer,
    WaitTimeout,
    WelipError,
)
from producers.client.evaluations import Calibration, Evaluation
from producers.client.events import Event, ProgressEvent, StageEvent, StateEvent, StreamEvent, TokenEvent
from producers.client.models import Answer, Collection, File, Job, Page, SearchHit
from producers.client.searches import HyperparameterSearch
from producers.client.sync import Client
from producers.client.text import AsyncTextStream, TextStream
from producers.client.trainings import Training
from producers.client.webhook_models import Delivery, Endpoint, LoggedDelivery, NewEndpoint, Secret
from schemas.kinds.inference import Citation
from schemas.lifecycle import JobState

__all__ = [
    "Adapter",
    "Answer",
    "ApiError",
    "AsyncClient",
    "AsyncTextStream",
    "Batch",
    "Benchmark",
    "Calibration",
    "Citation",
    "Client",
    "Collection",
    "ConnectionFailed",
    "DatasetNotFound",
    "DatasetQuality",
    "DeadLetter",
    "Delivery",
    "Endpoint",
    "Evaluation",
    "Event",
    "File",
    "HyperparameterSearch",
    "Job",
    "JobFailed",
    "JobState",
    "LoggedDelivery",
    "Model",
    "ModelAlias",
    "ModelDiff",
    "NewEndpoint",
    "Page",
    "ProgressEvent",
    "Promotion",
    "SearchHit",
    "Secret",
    "StageEvent",
    "StateEvent",
    "StreamBroken",
    "StreamEvent",
    "StreamRestarted",
    "Synthesis",
    "TextStream",
    "TokenEvent",
    "Training",
    "UnexpectedAnswer",
    "WaitTimeout",
    "WelipError",
]
