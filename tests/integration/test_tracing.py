"""One trace from the request to the end of the last stage, through the row, the message and its headers."""

from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaConsumer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.jobs.submit import Submitter
from gateway.webhooks.receivers import Receivers
from infra.settings import WebhookSettings
from infra.telemetry import current_traceparent, span, stop_tracing, use_provider
from schemas.jobs import Submission
from schemas.kinds.noop import NoopInput
from schemas.models import WITHOUT_MODELS
from schemas.prompts import Prompts
from tests.integration.house import House

INCOMING = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    use_provider(provider)
    yield exporter
    stop_tracing()


async def test_a_job_is_one_trace_with_the_request_that_submitted_it(house: House, spans: InMemorySpanExporter) -> None:
    await house.worker()
    submitter = Submitter(
        house.database,
        house.agents.wake,
        Receivers(house.database, WebhookSettings()),
        WITHOUT_MODELS,
        Prompts([]),
    )
    with span("POST /v1/jobs", traceparent=INCOMING):
        accepted = await submitter.submit("default", Submission(kind="noop", input=NoopInput()))
    await house.until([accepted.id])
    found = {one.name: one for one in spans.get_finished_spans()}
    request, stage = found["POST /v1/jobs"], found["noop.run"]
    assert request.context is not None
    assert stage.context is not None
    assert stage.parent is not None
    assert f"{stage.context.trace_id:032x}" == INCOMING.split("-")[1]
    assert stage.parent.span_id == request.context.span_id


async def test_the_message_bears_the_trace_in_its_headers(house: House) -> None:
    await house.submit(1, traceparent=INCOMING)
    consumer = AIOKafkaConsumer(
        "welip.noop.run.interactive",
        bootstrap_servers=house.kafka.url,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=20,
    )
    await consumer.start()
    try:
        async for record in consumer:  # the broker may hold other tests' messages; the suite's deadline bounds this
            headers = dict(record.headers)
            if headers.get("traceparent") == INCOMING.encode():
                return
    finally:
        await consumer.stop()


def test_without_an_exporter_a_well_formed_trace_is_handed_on_and_another_is_not() -> None:
    assert current_traceparent(INCOMING) == INCOMING
    assert current_traceparent("00-zz-1") is None
    assert current_traceparent(None) is None
