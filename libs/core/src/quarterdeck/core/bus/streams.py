"""Creates and updates what contracts/streams.py describes: streams and key-value buckets.

Idempotent and safe when several services start at once: creating what exists with the same shape is no error for
JetStream, and what exists with another shape is updated. Called by the runtime at start and after a reconnect.
"""

from typing import Any, Final

import structlog

from quarterdeck.contracts.streams import BUCKETS, STREAMS, BucketShape, StreamShape
from quarterdeck.core.bus.api import Api
from quarterdeck.core.bus.api_errors import STREAM_NAME_IN_USE
from quarterdeck.core.bus.bus import Bus
from quarterdeck.core.bus.errors import ApiError, StreamNotFound

log = structlog.get_logger()

_NANOS: Final = 1_000_000_000


def bucket_stream(bucket: str) -> str:
    """The stream behind a key-value bucket. Source: nats-server ADR-8."""
    return f"KV_{bucket}"


def bucket_subject(bucket: str, key: str) -> str:
    """The subject of one key, or of all with `>`. Source: nats-server ADR-8."""
    return f"$KV.{bucket}.{key}"


async def ensure_streams(bus: Bus, replicas: int = 1) -> None:
    """Make every stream and bucket of the contracts exist as described, on `replicas` servers.

    Raises Unavailable, ApiError.
    """
    for stream in STREAMS:
        await _ensure(bus.api, _stream_config(stream, replicas))
    for bucket in BUCKETS:
        await _ensure(bus.api, _bucket_config(bucket, replicas))


def _stream_config(shape: StreamShape, replicas: int) -> dict[str, Any]:
    config: dict[str, Any] = {
        "name": shape.name,
        "description": shape.description,
        "retention": shape.retention.value,
        "max_age": shape.max_age_s * _NANOS,
        "max_bytes": shape.max_bytes,
        "duplicate_window": _duplicate_window_s(shape) * _NANOS,
        "deny_delete": shape.deny_purge,
        "deny_purge": shape.deny_purge,
        **_common(replicas),
    }
    if shape.subjects:
        config["subjects"] = list(shape.subjects)
    if shape.sources:
        config["sources"] = [
            {"name": name, "filter_subject": subject_filter} for name, subject_filter in shape.sources
        ]
    return config


def _bucket_config(shape: BucketShape, replicas: int) -> dict[str, Any]:
    return {
        "name": bucket_stream(shape.name),
        "description": shape.description,
        "subjects": [bucket_subject(shape.name, ">")],
        "retention": "limits",
        "max_msgs_per_subject": shape.history,
        "duplicate_window": 120 * _NANOS,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        **_common(replicas),
    }


def _common(replicas: int) -> dict[str, Any]:
    return {
        "storage": "file",
        "num_replicas": replicas,
        "allow_direct": True,
        "max_consumers": -1,
        "max_msgs": -1,
    }


def _duplicate_window_s(shape: StreamShape) -> int:
    """JetStream refuses a window longer than the stream's age."""
    return min(shape.duplicate_window_s, shape.max_age_s) if shape.max_age_s else shape.duplicate_window_s


async def _ensure(api: Api, config: dict[str, Any]) -> None:
    name = config["name"]
    try:
        await api.call(f"STREAM.CREATE.{name}", config)
    except ApiError as error:
        if error.err_code != STREAM_NAME_IN_USE:
            raise
        await _update(api, config)
        log.info("bus.stream_updated", stream=name)


async def _update(api: Api, config: dict[str, Any]) -> None:
    name = config["name"]
    try:
        await api.call(f"STREAM.UPDATE.{name}", config)
    except StreamNotFound:  # deleted between the two calls
        await api.call(f"STREAM.CREATE.{name}", config)
