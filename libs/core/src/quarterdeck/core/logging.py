"""Logging: structlog for us, the standard library's for others, one format on stderr.

Owns the processor chain. Events are constant dotted names in the past tense with fields; never payloads or secrets.
Set up once per process by the runtime, the CLI and the agent.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal

import msgspec
import structlog
from opentelemetry import trace
from structlog.typing import Processor

Format = Literal["console", "json"]
Level = Literal["debug", "info", "warning", "error"]

_LEVELS: Final[dict[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_NOISY: Final = ("nats", "asyncio", "quic", "uvicorn.access", "uvicorn.websockets", "h11", "hpack")
"""Libraries whose information is our debugging."""


def configure(fmt: Format, level: Level, **constant_fields: str) -> None:
    """Log to stderr from `level` up, with `constant_fields` (such as service and service_id) in every line."""

    def add_constants(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        return {**constant_fields, **event}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_constants,
        _add_trace,
    ]
    renderers: list[Processor]
    if fmt == "json":
        renderers = [
            # Never with locals: they hold tokens, payloads and output.
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(serializer=_to_json),
        ]
    else:
        # Plain tracebacks: rich's show locals, which hold tokens, payloads and output.
        renderers = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    _route_standard_library(shared, renderers, _LEVELS[level])


def _route_standard_library(shared: list[Processor], renderers: list[Processor], level: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _add_trace(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
    return event


def _to_json(event: Any, **_options: Any) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()
