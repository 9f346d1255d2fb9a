"""Traces travel in headers, recorded or not."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from quarterdeck.core import telemetry

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
"""Source: W3C Trace Context §3.2, the example."""


@pytest.fixture
def recorded() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    telemetry.record_to(SimpleSpanProcessor(exporter), service="test", service_id="1")
    yield exporter
    telemetry.stop_recording()


def only(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    return span


def test_nothing_is_injected_where_no_trace_is_active() -> None:
    assert telemetry.inject() is None
    headers = {"a": "1"}
    assert telemetry.inject(headers) is headers
    assert telemetry.traceparent() == ""


def test_trace_of_the_caller_travels_on_without_recording() -> None:
    """Without a collector the caller's trace must not end with us."""
    with telemetry.span(telemetry.HTTP_REQUEST, PARENT):
        headers = telemetry.inject({"a": "1"})

    assert headers is not None
    assert headers["a"] == "1"
    assert TRACE in headers["traceparent"]


def test_span_is_a_child_of_the_context_in_the_headers(recorded: InMemorySpanExporter) -> None:
    with telemetry.span(telemetry.COMMAND_DISPATCH, PARENT, command_id="c1"):
        headers = telemetry.inject()

    span = only(recorded)
    assert (span.name, span.attributes) == (telemetry.COMMAND_DISPATCH, {"command_id": "c1"})
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert headers is not None
    assert f"{span.context.span_id:016x}" in headers["traceparent"]


def test_span_without_parent_begins_a_trace(recorded: InMemorySpanExporter) -> None:
    with telemetry.span(telemetry.HTTP_REQUEST):
        assert telemetry.traceparent() != ""

    assert only(recorded).parent is None


@pytest.mark.parametrize(
    "garbage", ["", "00-zz-zz-01", "x" * 1_000, "00-" + "0" * 32 + "-" + "0" * 16 + "-00"]
)
def test_garbage_in_the_header_begins_a_trace_of_its_own(
    recorded: InMemorySpanExporter, garbage: str
) -> None:
    """Headers come from outside."""
    with telemetry.span(telemetry.HTTP_REQUEST, {"traceparent": garbage}):
        pass

    assert only(recorded).parent is None
