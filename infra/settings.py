"""The settings of a deployment, read from the environment once in each entry point and passed down."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.cache_settings import LoraSettings as LoraSettings
from infra.cache_settings import WeightsSettings as WeightsSettings
from infra.harness.settings import HarnessSettings
from infra.reading_settings import AnalysisSettings as AnalysisSettings
from infra.reading_settings import ParserSettings as ParserSettings
from infra.setting_types import Duration, Fields, Headers
from infra.setting_types import prefixed as _prefix
from infra.training.settings import KubeflowSettings, TrainingSettings


class PostgresSettings(BaseSettings):
    """Where the truth lies. `pool_size`: connections each process may hold."""

    model_config = _prefix("POSTGRES_")
    url: SecretStr = SecretStr("postgresql://postgres@127.0.0.1:5432/welip")
    pool_size: int = Field(8, ge=2, le=200)
    statement_timeout: Duration = timedelta(seconds=30)


class KafkaSettings(BaseSettings):
    """The transport. `embedded`: the in-memory broker, one worker process, see `infra/kafka/embedded.py`."""

    model_config = _prefix("KAFKA_")
    url: str = "127.0.0.1:9092"
    partitions: int = Field(4, ge=1, le=1000, description="Of each topic when it is made; the embedded broker uses 2.")
    replication: int = Field(1, ge=1, le=7)
    embedded: bool = False


class BlobsSettings(BaseSettings):
    """Object storage: `file:///path`, or `s3+http://host:9000/bucket` (`s3+https` for TLS)."""

    model_config = _prefix("BLOBS_")
    url: str = "file://.welip/blobs"
    access_key: SecretStr = SecretStr("")
    secret_key: SecretStr = SecretStr("")


class IndexSettings(BaseSettings):
    """The vector index: `edge:///path` (in the worker's process) or the URL of a Qdrant server.

    `rebuild`: rebuild a collection unasked when its index does not hold what Postgres says, as after a restore.
    """

    model_config = _prefix("INDEX_")
    url: str = "edge://.welip/index"
    api_key: SecretStr | None = None
    rebuild: bool = True


class ModelSettings(BaseSettings):
    """The models file, TOML or YAML: see `docs/engines.md`. Alike for gateway and workers."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)
    models: Path | None = Field(None, validation_alias="WELIP_MODELS", description="Absent: one model, `default`.")


class PromptSettings(BaseSettings):
    """The deployment's own prompts, beside those of WeLIP. Alike for gateway and workers."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)
    prompts: Path | None = Field(
        None, validation_alias="WELIP_PROMPTS", description="A folder of files like `rag-ko@2.toml`."
    )


class GeneratorSettings(BaseSettings):
    """Who answers: `extractive` quotes passages and needs no model; `openai` is any OpenAI-compatible server."""

    model_config = SettingsConfigDict(env_prefix="WELIP_GENERATOR_", extra="ignore", frozen=True)
    engine: Literal["extractive", "openai"] = Field("extractive", validation_alias="WELIP_GENERATOR")
    url: str = Field("http://127.0.0.1:8000/v1", description="For example a vLLM server.")
    model: str = "default"
    api_key: SecretStr | None = None
    timeout: Duration = timedelta(seconds=120)
    prompt: Literal["auto", "ko", "en"] = Field("auto", description="`auto`: in the question's language.")
    passage_chars: int = Field(12_000, ge=200, le=2_000_000, description="Of all passages that a model reads at once.")
    headers: Headers = Field({}, description="More headers of each request, as a JSON object.")
    body: Fields = Field({}, description="More fields of each request, as a JSON object.")
    length_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    sampling: bool = Field(True, description="Send the temperature; off for engines that accept only their default.")
    system_role: Literal["system", "developer", "none"] = Field(
        "system", description="The role of the rules; `none`: they go before the question."
    )


class EmbedderSettings(BaseSettings):
    """Dense vectors: `none`, a model in the gpu pool, or `openai`, any OpenAI-compatible server; alike for all workers.

    `e5-small` brings its model and needs neither torch nor a hub; `sentence-transformers` takes any of its models;
    `bge-m3` gives that model's own sparse vectors too. A prefix that is absent is the model's own where it has one.
    """

    model_config = SettingsConfigDict(env_prefix="WELIP_EMBEDDER_", extra="ignore", frozen=True)
    engine: Literal["none", "sentence-transformers", "bge-m3", "openai", "e5-small"] = Field(
        "none", validation_alias="WELIP_EMBEDDER"
    )
    model: str = "BAAI/bge-m3"
    query_prefix: str | None = None
    document_prefix: str | None = None
    dimension: int | None = Field(None, ge=1, le=65_536, description="Of shortened vectors; absent: the model's own.")
    batch: int = Field(32, ge=1, le=2_048, description="Texts in one pass of the model, or in one request.")
    device: str | None = Field(None, description="`cuda`, `cpu`; absent: the library chooses.")
    url: str = Field("http://127.0.0.1:8000/v1", description="For `openai`.")
    api_key: SecretStr | None = None
    headers: Headers = Field({}, description="More headers of each request, as a JSON object.")
    timeout: Duration = timedelta(seconds=60)

    @model_validator(mode="after")
    def _fits(self) -> "EmbedderSettings":
        if self.engine == "bge-m3" and self.dimension is not None:
            raise ValueError("WELIP_EMBEDDER_DIMENSION: vectors of bge-m3 cannot be shortened; leave it out")
        own = sorted(self.model_fields_set & {"model", "query_prefix", "document_prefix", "dimension"})
        if self.engine == "e5-small" and own:
            raise ValueError(f"WELIP_EMBEDDER_{own[0].upper()}: e5-small is a fixed model; leave it out")
        return self


class RerankerSettings(BaseSettings):
    """Reorders the passages found: `none`, `cross-encoder` (a model in the gpu pool), or `endpoint`.

    An endpoint is any server with a `/rerank` call (vLLM, Jina, Cohere). Alike for all workers.
    """

    model_config = SettingsConfigDict(env_prefix="WELIP_RERANKER_", extra="ignore", frozen=True)
    engine: Literal["none", "cross-encoder", "endpoint"] = Field("none", validation_alias="WELIP_RERANKER")
    model: str = "Dongjin-kr/ko-reranker"
    candidates: int = Field(30, ge=1, le=200, description="Passages that are reranked for one question.")
    batch: int = Field(32, ge=1, le=2_048, description="Pairs in one pass of the model.")
    device: str | None = Field(None, description="`cuda`, `cpu`; absent: the library chooses.")
    url: str = Field("http://127.0.0.1:8000", description="For `endpoint`: what comes before `/rerank`.")
    api_key: SecretStr | None = None
    headers: Headers = Field({}, description="More headers of each request, as a JSON object.")
    timeout: Duration = timedelta(seconds=60)


class GatewaySettings(BaseSettings):
    """The HTTP side. `agents`: run relay, due and rescue in this process too; off when they have their own."""

    model_config = _prefix("GATEWAY_")
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    agents: bool = True
    auth: Literal["on", "off"] = Field("on", validation_alias="WELIP_AUTH")
    max_body_bytes: int = Field(1024 * 1024, ge=1024)
    max_file_bytes: int = Field(4 * 1024**3, ge=1024)
    ragas: Literal["auto", "on", "off"] = Field(
        "auto", description="Whether the workers of judges have the group `eval`; `auto`: as the gateway has."
    )


class LimitSettings(BaseSettings):
    """Limits of one tenant in one gateway; 0 means no limit. `rate`: submissions a second, `burst` of them at once."""

    model_config = _prefix("LIMIT_")
    rate: float = Field(10_000, ge=0)
    burst: int = Field(10_000, ge=1)
    waiting: int = Field(1_000_000, ge=0, description="Jobs that wait, children too.")
    interactive: int = Field(
        64, ge=0, description="Interactive jobs that wait for a worker; more become bulk. Only with several tenants."
    )
    streams: int = Field(2_000, ge=0, description="Open event streams and waits.")
    file_bytes: int = Field(0, ge=0, description="In object storage: files, and all that jobs write.")


class RelaySettings(BaseSettings):
    """Outbox to Kafka. `poll`: how long an idle relay sleeps when nobody wakes it, at most."""

    model_config = _prefix("RELAY_")
    poll: Duration = timedelta(milliseconds=50)
    batch: int = Field(500, ge=1, le=10_000)
    window: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Bulk jobs of a topic that are summoned ahead, at least; none: 8 for each of its partitions.",
    )
    tenant_at_once: int | None = Field(None, ge=1, description="Bulk jobs of a tenant that are under way.")
    model_at_once: int | None = Field(None, ge=1, description="Bulk jobs of a model that are under way.")
    key_at_once: int = Field(
        1, ge=1, description="Jobs of a tenant with the same `concurrency_key` that are under way."
    )


class RescueSettings(BaseSettings):
    """Lost and due work. `every`: between sweeps; `unclaimed`: after how long a queued job is summoned again."""

    model_config = _prefix("RESCUE_")
    every: Duration = timedelta(seconds=1)
    unclaimed: Duration = timedelta(seconds=30)
    gone: Duration = Field(
        timedelta(seconds=5),
        ge=timedelta(seconds=3),
        description="A worker that has no session with Postgres for so long is dead.",
    )
    proof: int = Field(
        6,
        ge=3,
        description="Suspicion at which a job fails with `worker_killed`: 1 for each of two deaths, then 1 or 2.",
    )


class RetentionSettings(BaseSettings):
    """How long ended things are kept; 0 means forever. `every`: between two rounds; `batch`: rows a statement."""

    model_config = SettingsConfigDict(env_prefix="WELIP_RETENTION_", extra="ignore", frozen=True, populate_by_name=True)
    jobs: Duration = Field(timedelta(days=30), ge=timedelta(0), description="With events and results, since their end.")
    deliveries: Duration = Field(timedelta(days=30), ge=timedelta(0), description="Of webhooks, since their end.")
    dead_letters: Duration = Field(timedelta(days=90), ge=timedelta(0), description="Including undecided ones.")
    uploads: Duration = Field(timedelta(0), ge=timedelta(0), description="Uploads that no job names.")
    embeddings: Duration = Field(
        timedelta(days=30),
        ge=timedelta(0),
        validation_alias="WELIP_EMBEDDER_CACHE_KEEP",
        description="Cached vectors, since their last use.",
    )
    judgements: Duration = Field(
        timedelta(days=90), ge=timedelta(0), description="Answers of judges, since their last use."
    )
    every: Duration = Field(timedelta(minutes=1), gt=timedelta(0))
    batch: int = Field(500, ge=1, le=10_000)


class WorkerSettings(BaseSettings):
    """A worker process. `concurrency`: jobs of one kind at once in each lane.

    `lease`: how long a silent worker keeps a job.
    """

    model_config = _prefix("WORKER_")
    concurrency: int = Field(16, ge=1, le=10_000)
    shared_slots: bool = Field(
        False, description="Let the lanes share `concurrency`, interactive first. With 1: one job at a time."
    )
    lease: Duration = timedelta(seconds=15)
    heartbeat: Duration = Field(timedelta(seconds=1), description="Also how soon a stage hears that it is cancelled.")
    drain: Duration = Field(timedelta(seconds=20), description="How long a stopping worker lets jobs finish.")
    stuck: Duration = Field(
        timedelta(seconds=60), description="How long a loop may be silent, or a consumer may bring nothing that waits."
    )
    outage: Duration = Field(
        timedelta(hours=1), description="How long an outside system may be away before it costs jobs attempts."
    )
    warm: bool = Field(True, description="Load the Korean analyser at the start, not in the first job that needs it.")
    metrics_port: int | None = Field(None, ge=0, le=65535, description="Prometheus port, on loopback; absent: none.")
    metrics_host: str = "127.0.0.1"

    @model_validator(mode="after")
    def _beats_in_time(self) -> "WorkerSettings":
        if self.lease < 5 * self.heartbeat:
            raise ValueError(
                f"WELIP_WORKER_LEASE ({self.lease.total_seconds():g} s) must be at least five times"
                f" WELIP_WORKER_HEARTBEAT ({self.heartbeat.total_seconds():g} s)"
            )
        return self


class SearchSettings(BaseSettings):
    """Searches that a worker with the vector index answers without a job, over connections that gateways open."""

    model_config = _prefix("SEARCH_")
    direct: bool = Field(True, description="Off: this worker answers searches only as jobs.")
    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535, description="0: any free one.")
    address: str | None = Field(
        None, description="Where gateways reach the host; absent: there, or at this machine's own address."
    )


class WebhookSettings(BaseSettings):
    """Deliveries. `allow`: networks, addresses and host names, by commas, to which they may go although private."""

    model_config = _prefix("WEBHOOK_")
    allow: str = ""
    insecure_http: bool = Field(False, description="Let receivers have `http://` addresses.")
    public_url: str | None = Field(
        None, max_length=1000, description="The gateway's, for links; absent: links are paths."
    )
    timeout: Duration = Field(timedelta(seconds=15), gt=timedelta(0), le=timedelta(seconds=60))
    per_destination: int = Field(4, ge=1, le=1000, description="Attempts at once to one destination, by one process.")
    concurrency: int = Field(256, ge=1, le=10_000, description="Attempts at once, by one process.")
    poll: Duration = Field(timedelta(seconds=0.5), gt=timedelta(0))

    @field_validator("allow")
    @classmethod
    def _readable(cls, value: str) -> str:
        from infra.webhooks.allowed import allowed

        allowed(value)
        return value


class MlflowSettings(BaseSettings):
    """Where figures of jobs go, beside those of other runs. Alike for workers and for what runs relay and rescuer."""

    model_config = _prefix("MLFLOW_")
    uri: str | None = Field(None, description="MLflow's server; absent or `off`: nothing is tracked.")
    token: SecretStr | None = None
    username: str | None = None
    password: SecretStr = SecretStr("")
    timeout: Duration = Field(timedelta(seconds=30), gt=timedelta(0))
    spool: int = Field(100_000, ge=1, description="Entries that may wait for it; later ones are left out.")

    @field_validator("uri", mode="before")
    @classmethod
    def _off_is_none(cls, value: object) -> object:
        return None if value in ("", "off") else value


class LogSettings(BaseSettings):
    """`json` for machines, `console` for people."""

    model_config = _prefix("LOG_")
    format: Literal["json", "console"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class TracingSettings(BaseSettings):
    """OpenTelemetry: spans are exported when this standard variable is set and the `otel` group is installed."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)
    endpoint: str | None = Field(None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")


CONCERNS: tuple[type[BaseSettings], ...] = (
    PostgresSettings,
    KafkaSettings,
    BlobsSettings,
    IndexSettings,
    ModelSettings,
    LoraSettings,
    WeightsSettings,
    TrainingSettings,
    KubeflowSettings,
    HarnessSettings,
    PromptSettings,
    GeneratorSettings,
    EmbedderSettings,
    RerankerSettings,
    ParserSettings,
    AnalysisSettings,
    GatewaySettings,
    LimitSettings,
    RelaySettings,
    RescueSettings,
    RetentionSettings,
    WorkerSettings,
    SearchSettings,
    WebhookSettings,
    MlflowSettings,
    LogSettings,
    TracingSettings,
)


def environment_names() -> set[str]:
    """Every environment variable that WeLIP reads, for documentation and for checking deployment files."""
    names: set[str] = {"WELIP_URL", "WELIP_API_KEY", "WELIP_DEBUG", "WELIP_CACHE"}  # the client's and the tools'
    for concern in CONCERNS:
        prefix = concern.model_config.get("env_prefix", "")
        for name, field in concern.model_fields.items():
            alias = field.validation_alias
            names.add(alias if isinstance(alias, str) else f"{prefix}{name}".upper())
    return names
