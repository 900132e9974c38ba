"""Every Prometheus metric, in one table; names end in their unit."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

# gateway
REQUESTS: Final = Counter("welip_http_requests_total", "Requests answered.", ["method", "route", "status"])
REQUEST_SECONDS: Final = Histogram(
    "welip_http_request_duration_seconds", "From request to answer.", ["method", "route"], buckets=_SECONDS
)
SEARCHES: Final = Counter("welip_searches_total", "Searches, by what answered them: `worker`, `job`.", ["by"])
SUBMITTED: Final = Counter("welip_jobs_submitted_total", "Jobs accepted.", ["kind", "lane"])
ALIASED: Final = Counter(
    "welip_aliased_jobs_total", "Jobs that named an alias, by the model that it gave them.", ["model"]
)
QUEUED: Final = Gauge("welip_queue_jobs", "Jobs queued now.", ["topic", "lane"])
HELD: Final = Gauge("welip_held_jobs", "Queued jobs that were not summoned yet.", ["topic", "lane"])
QUEUE_AGE: Final = Gauge(
    "welip_queue_age_seconds", "Since when the oldest job of a topic is queued.", ["topic", "lane"]
)
RUNNING: Final = Gauge("welip_running_jobs", "Jobs that workers hold now.", ["topic", "lane"])
FOLLOWERS: Final = Gauge("welip_event_streams", "Event streams that are open now.")
OUTBOX: Final = Gauge("welip_outbox_messages", "Messages that Kafka has not acknowledged yet.")
OUTBOX_AGE: Final = Gauge("welip_outbox_age_seconds", "Age of the oldest of them.")
TRACKING: Final = Gauge("welip_tracking_entries", "What MLflow was not told yet, or refuses.", ["state"])
DEAD_LETTERS: Final = Gauge("welip_dead_letters", "Dead letters that nobody has requeued or dropped.", ["source"])

# agents
RELAYED: Final = Counter("welip_relay_messages_total", "Messages that Kafka acknowledged.")
RELEASED: Final = Counter("welip_released_jobs_total", "Held jobs that were summoned.")
RESCUED: Final = Counter("welip_rescued_jobs_total", "Jobs put back on their way.", ["reason"])
WORKER_DEATHS: Final = Counter("welip_worker_deaths_total", "Workers that died or fell silent while they ran jobs.")
CANARIES: Final = Counter(
    "welip_canary_comparisons_total", "Comparisons of canaries with champions: `kept` or `rolled_back`.", ["outcome"]
)
TRACKED: Final = Counter("welip_tracked_entries_total", "What MLflow was told.", ["what"])
REMOVED: Final = Counter("welip_retention_removed_total", "What expired and was removed.", ["what"])

# workers
IN_FLIGHT: Final = Gauge("welip_worker_jobs_in_flight", "Stages that run in this process.", ["lane"])
STAGE_SECONDS: Final = Histogram(
    "welip_stage_duration_seconds", "From claim to outcome.", ["kind", "stage", "outcome"], buckets=_SECONDS
)
SEARCH_SECONDS: Final = Histogram(
    "welip_search_duration_seconds", "A search without a job, in a worker.", ["outcome"], buckets=_SECONDS
)
RETRIES: Final = Counter("welip_job_retries_total", "Tries that will be repeated.", ["kind", "code"])
FAILURES: Final = Counter("welip_job_failures_total", "Jobs that failed for good.", ["kind", "code"])
STALE: Final = Counter("welip_stale_summons_total", "Summons that found nothing to claim.", ["kind"])
UNREADABLE: Final = Counter("welip_unreadable_messages_total", "Messages that could not be parsed.", ["topic"])
FENCED: Final = Counter("welip_fenced_results_total", "Results thrown away because the lease was lost.", ["kind"])
STREAMED: Final = Counter("welip_streamed_events_total", "Events of texts that were sent while they were written.")
STREAM_SECONDS: Final = Histogram(
    "welip_stream_statement_duration_seconds", "One statement for the texts of all stages.", buckets=_SECONDS
)
MODEL_BATCH: Final = Histogram(
    "welip_model_batch_items",
    "Texts or pairs that one pass of a model, or one request for it, took.",
    ["model"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
ENGINE_REQUESTS: Final = Gauge(
    "welip_engine_requests", "Requests of an engine in this process, by `running` and `waiting`.", ["model", "state"]
)
ENGINE_CACHE: Final = Gauge("welip_engine_cache_used_ratio", "Of its key-value cache.", ["model"])
EMBEDDED: Final = Counter("welip_embedded_texts_total", "Texts of documents that got vectors.", ["source"])

# webhooks
WEBHOOK_ATTEMPTS: Final = Counter("welip_webhook_attempts_total", "Attempts to tell a receiver.", ["outcome"])
WEBHOOK_SECONDS: Final = Histogram(
    "welip_webhook_attempt_duration_seconds", "From the first look at the address to the answer.", buckets=_SECONDS
)
WEBHOOK_IN_FLIGHT: Final = Gauge("welip_webhook_attempts_in_flight", "Attempts under way in this process.")
WEBHOOK_PENDING: Final = Gauge("welip_webhook_pending_deliveries", "Deliveries that wait, counted up to 100,000.")
