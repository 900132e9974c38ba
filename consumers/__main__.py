"""`welip worker`: one worker process."""

import argparse
import os
import sys
from typing import Final

import structlog
import uvloop

from consumers.app import work
from consumers.bootstrap import AdapterSettings
from consumers.liveness import ConsumerStuck
from consumers.webhooks.process import deliver
from infra.harness.settings import HarnessSettings
from infra.logging import configure_logging
from infra.models import models_of_environment
from infra.process import cores, limit_arenas, return_large_blocks
from infra.settings import (
    AnalysisSettings,
    BlobsSettings,
    EmbedderSettings,
    GeneratorSettings,
    IndexSettings,
    KafkaSettings,
    LimitSettings,
    LogSettings,
    LoraSettings,
    MlflowSettings,
    ParserSettings,
    PostgresSettings,
    PromptSettings,
    RelaySettings,
    RerankerSettings,
    SearchSettings,
    TracingSettings,
    WebhookSettings,
    WeightsSettings,
    WorkerSettings,
)
from infra.telemetry import configure_tracing, stop_tracing
from infra.training.settings import KubeflowSettings, TrainingSettings
from schemas.errors import EngineDied, JobError
from schemas.kinds.registry import KINDS
from schemas.topics import Pool

SWITCH_AFTER_S: Final = 0.0005
"""After so long a thread of a large document gives way to the event loop, which answers interactive work: each of its
many short turns may have to wait for every busy thread. Python's default is ten times as long.
"""

log = structlog.get_logger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """0 after a clean stop, 2 when this process cannot do its pools' work, 70 when it got stuck or its engine died."""
    parser = argparse.ArgumentParser(prog="welip worker")
    parser.add_argument(
        "--pool", action="append", choices=[pool.value for pool in Pool], help="repeatable; default all"
    )
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help="repeatable: serve this model and no other; without --pool, do nothing else",
    )
    parser.add_argument(
        "--kind", action="append", choices=list(KINDS), help="repeatable: run stages of these kinds and no others"
    )
    parser.add_argument("--concurrency", type=int, help="jobs at once in each lane")
    given = parser.parse_args(arguments)
    limit_arenas(cores())
    return_large_blocks()
    worker = WorkerSettings()
    if given.concurrency is not None:
        worker = WorkerSettings(concurrency=given.concurrency)
    sys.setswitchinterval(SWITCH_AFTER_S)
    configure_logging(LogSettings(), process="worker")
    configure_tracing(TracingSettings(), service="welip-worker")
    pools = [Pool(name) for name in given.pool or ([] if given.model else list(Pool))]
    postgres, webhook = PostgresSettings(), WebhookSettings()
    try:
        models = models_of_environment()
    except JobError as error:
        log.error("worker.cannot_start", code=error.reason, error=error.message)
        return 2
    if set(pools) == {Pool.WEBHOOK} and not given.model:
        running = deliver(postgres=postgres, worker=worker, webhook=webhook)
    else:
        running = work(
            pools,
            postgres=postgres,
            kafka=KafkaSettings(),
            relay=RelaySettings(),
            worker=worker,
            webhook=webhook,
            search=SearchSettings(),
            adapters=AdapterSettings(
                BlobsSettings(),
                IndexSettings(),
                GeneratorSettings(),
                EmbedderSettings(),
                RerankerSettings(),
                ParserSettings(),
                AnalysisSettings(),
                LimitSettings(),
                models,
                LoraSettings(),
                PromptSettings(),
                WeightsSettings(),
                TrainingSettings(),
                MlflowSettings(),
                harness=HarnessSettings(),
                kubeflow=KubeflowSettings(),
            ),
            models=given.model,
            kinds=given.kind,
        )
    try:
        uvloop.run(running)
    except (ConsumerStuck, EngineDied):
        return os.EX_SOFTWARE
    except JobError as error:
        log.error("worker.cannot_start", code=error.reason, error=error.message)
        return 2
    finally:
        stop_tracing()
    return 0


if __name__ == "__main__":
    sys.exit(main())
