"""OpenTelemetry: one trace from request to result. Without an exporter, calls here cost nothing."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.trace import Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from infra.settings import TracingSettings
from schemas.errors import DependencyMissing

_propagator: Final = TraceContextTextMapPropagator()
_tracer: trace.Tracer | None = None
_provider: Any = None


def configure_tracing(settings: TracingSettings, *, service: str) -> None:
    """Export spans over OTLP/HTTP when an endpoint is set. Raises `DependencyMissing` without the `otel` group."""
    if settings.endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise DependencyMissing(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but the `otel` group is missing: pip install 'welip[otel]'"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    use_provider(provider)


def use_provider(provider: Any) -> None:
    """Trace with this provider (an SDK `TracerProvider`)."""
    global _tracer, _provider
    _provider = provider
    _tracer = provider.get_tracer("welip")


def stop_tracing() -> None:
    """Export the remaining spans and stop."""
    global _tracer, _provider
    if _provider is not None:
        _provider.shutdown()
    _tracer = _provider = None


def tracing() -> bool:
    """Whether spans are recorded."""
    return _tracer is not None


@contextlib.contextmanager
def _span(name: str, traceparent: str | None, attributes: dict[str, str | int]) -> Iterator[Span]:
    assert _tracer is not None
    parent = _propagator.extract({"traceparent": traceparent}) if traceparent else None
    with _tracer.start_as_current_span(name, context=parent, attributes=attributes) as span:
        yield span


def span(name: str, *, traceparent: str | None = None, **attributes: str | int) -> AbstractContextManager[Span | None]:
    """A span under `traceparent` (W3C Trace Context), or under the current span; does nothing when tracing is off."""
    if _tracer is None:
        return contextlib.nullcontext()
    return _span(name, traceparent, attributes)


def current_traceparent(incoming: str | None = None) -> str | None:
    """The `traceparent` to pass on: the current span's, else the caller's own if it is well formed."""
    if _tracer is not None:
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        if "traceparent" in carrier:
            return carrier["traceparent"]
    if (
        incoming is not None
        and trace.get_current_span(_propagator.extract({"traceparent": incoming})).get_span_context().is_valid
    ):
        return incoming
    return None
