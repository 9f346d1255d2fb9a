"""Traces: one context from the HTTP request through NATS headers to the agent and back (W3C Trace Context).

Owns the tracer and the propagation. Without a configured endpoint nothing is recorded, but a caller's `traceparent`
still travels. Costs next to nothing where no trace is active. Set up by the runtime; used by bus, services, gateways.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

if (
    TYPE_CHECKING
):  # SDK and exporter (with requests, urllib3) cost each process 0.15 s and 10 MB: only who records pays
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

_SCOPE: Final = "quarterdeck"
_TRACEPARENT: Final = "traceparent"
_TRACES_PATH: Final = "/v1/traces"

# Span names: constant, so that they can be counted; ids go into attributes.
HTTP_REQUEST: Final = "api.request"
COMMAND_DISPATCH: Final = "dispatcher.dispatch"
ORDER_HANDOVER: Final = "gateway.order"
AGENT_EXECUTE: Final = "agent.execute"
REPORTS_APPLY: Final = "aggregator.apply"

_propagator: Final = TraceContextTextMapPropagator()


class _Recorder:
    """The process's tracer; recording only after `record_to`."""

    provider: "TracerProvider | None" = None
    tracer: trace.Tracer = trace.NoOpTracer()


def export_to(endpoint: str | None, *, service: str, service_id: str) -> None:
    """Send spans to the OTLP http/protobuf collector at `endpoint` (its base URL). None: record nothing."""
    if endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + _TRACES_PATH)
        record_to(BatchSpanProcessor(exporter), service=service, service_id=service_id)


def record_to(processor: "SpanProcessor", *, service: str, service_id: str) -> None:
    """Hand every finished span to `processor`."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    resource = Resource.create({"service.name": f"quarterdeck-{service}", "service.instance.id": service_id})
    _Recorder.provider = TracerProvider(resource=resource)
    _Recorder.provider.add_span_processor(processor)
    _Recorder.tracer = _Recorder.provider.get_tracer(_SCOPE)


def stop_recording() -> None:
    """Flush what is buffered and record nothing from now on. Blocks while it flushes: for the end of a process."""
    provider, _Recorder.provider, _Recorder.tracer = _Recorder.provider, None, trace.NoOpTracer()
    if provider is not None:
        provider.shutdown()


def inject(headers: dict[str, str] | None = None) -> dict[str, str] | None:
    """A copy of `headers` with the current trace context added; the same object when no trace is active."""
    if not trace.get_current_span().get_span_context().is_valid:
        return headers
    carrier = dict(headers) if headers else {}
    _propagator.inject(carrier)
    return carrier


def traceparent() -> str:
    """The current trace context as one W3C header value, for wires without headers; empty when no trace is active."""
    return (inject() or {}).get(_TRACEPARENT, "")


@contextmanager
def span(
    name: str, parent_headers: Mapping[str, str] | None = None, **attributes: AttributeValue
) -> Iterator[trace.Span]:
    """Run the block inside a span called `name`, a child of the context in `parent_headers` or of the current one."""
    has_parent = parent_headers is not None and _TRACEPARENT in parent_headers
    if not has_parent and _Recorder.provider is None:
        yield trace.INVALID_SPAN
        return
    context = _propagator.extract(parent_headers) if parent_headers is not None and has_parent else None
    with _Recorder.tracer.start_as_current_span(name, context=context, attributes=attributes) as current:
        yield current
