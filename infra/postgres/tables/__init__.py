"""The tables. Alembic's migrations create them; a test keeps the two equal. `queries/` reads the rows."""

from infra.postgres.tables.adapters import Adapter
from infra.postgres.tables.aliases import ModelAlias, ModelPromotion
from infra.postgres.tables.answers import Answer
from infra.postgres.tables.batches import Batch
from infra.postgres.tables.dead_letters import DeadLetter
from infra.postgres.tables.documents import BlobGarbage, Collection, Document, File, Generation, StoredBlob, StoredTotal
from infra.postgres.tables.embeddings import Embedding
from infra.postgres.tables.jobs import Job, JobEvent, Outbox
from infra.postgres.tables.judgements import Judgement, JudgementCost
from infra.postgres.tables.search_servers import SearchServer
from infra.postgres.tables.tenants import ApiKey, Tenant
from infra.postgres.tables.tracking import TrackedEntry, TrackedRun
from infra.postgres.tables.trials import TrialEvaluation
from infra.postgres.tables.uploads import Upload, UploadPart
from infra.postgres.tables.webhooks import WebhookAttempt, WebhookDelivery, WebhookEndpoint

__all__ = [
    "Adapter",
    "Answer",
    "ApiKey",
    "Batch",
    "BlobGarbage",
    "Collection",
    "DeadLetter",
    "Document",
    "Embedding",
    "File",
    "Generation",
    "Job",
    "JobEvent",
    "Judgement",
    "JudgementCost",
    "ModelAlias",
    "ModelPromotion",
    "Outbox",
    "SearchServer",
    "StoredBlob",
    "StoredTotal",
    "Tenant",
    "TrackedEntry",
    "TrackedRun",
    "TrialEvaluation",
    "Upload",
    "UploadPart",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
]
