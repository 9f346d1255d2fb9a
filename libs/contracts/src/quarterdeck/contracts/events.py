"""Domain events: how they are kept in an outbox, and how the world sees them (CloudEvents 1.0, JSON).

An event's id is `<aggregate id>-<version>`: a pure function of what happened, so writing it twice is writing it once,
and a reader who saw a higher version may drop a lower one.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from quarterdeck.contracts import subjects

COMMAND: Final = "command"
BATCH: Final = "batch"
AGENT: Final = "agent"
SESSION: Final = "session"

POLICY_REFUSED: Final = "policy.refused"
POLICY_APPROVED: Final = "policy.approved"
COMMAND_ACCEPTED: Final = "command.accepted"
COMMAND_ATTEMPT_FAILED: Final = "command.attempt_failed"
COMMAND_OUTPUT_LOST: Final = "command.output_lost"
BATCH_CREATED: Final = "batch.created"
BATCH_PROGRESSED: Final = "batch.progressed"
BATCH_TERMINATING: Final = "batch.terminating"
BATCH_COMPLETED: Final = "batch.completed"
SESSION_CREATED: Final = "session.created"
SESSION_ROUND_CREATED: Final = "session.round_created"
AGENT_REVOKED: Final = "agent.revoked"
AGENT_REFUSED: Final = "agent.refused"
AGENT_GUESTS_CHANGED: Final = "agent.guests_changed"


class EventRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fact as it waits in an outbox. Written by the store's scripts (as a MessagePack map) or by their callers."""

    type: str
    """`<entity>.<verb in the past tense>`."""
    tenant: str
    aggregate_id: str
    version: int
    """Of the aggregate, after this event. Starts at 1, grows by 1."""
    at_ms: int
    batch_id: str | None = None
    command_id: str | None = None
    part: int = 0
    """Creation of a large batch takes several events of one version; they are numbered from 0."""
    payload: dict[str, Any] = {}

    @property
    def event_id(self) -> str:
        base = f"{self.aggregate_id}-{self.version}"
        return base if self.part == 0 else f"{base}-{self.part}"

    @property
    def subject(self) -> str:
        entity, _, verb = self.type.partition(".")
        # A session's events have versions of their own: who watches a command must not take them for the command's.
        command_id = None if entity == SESSION else self.command_id
        return subjects.event(self.tenant, self.batch_id, command_id, entity, verb)


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `qd.event.>` carries. Source: CloudEvents 1.0.2 §3; extension names are lower-case letters and digits."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    tenant: str
    aggregateversion: int
    correlationid: str
    data: dict[str, Any]


def rfc3339(at_ms: int) -> str:
    """UTC with milliseconds and `Z`."""
    seconds, milliseconds = divmod(at_ms, 1000)
    return f"{_to_the_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=64)
def _to_the_second(seconds: int) -> str:
    """Thousands of events share a second, and a calendar is slow to ask."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def cloud_event(record: EventRecord) -> CloudEvent:
    """The public form. Times inside `data` stay Unix milliseconds and end in `_ms`."""
    ids = {"command_id": record.command_id, "batch_id": record.batch_id}
    payload = record.payload
    if result := payload.get("result"):
        payload = {
            **payload,
            "result": msgspec.Raw(result.encode()),
        }  # JSON text of a handler: embedded, not quoted
    return CloudEvent(
        specversion="1.0",
        id=record.event_id,
        source=f"/quarterdeck/{record.tenant}",
        type=record.type,
        subject=record.aggregate_id,
        time=rfc3339(record.at_ms),
        datacontenttype="application/json",
        tenant=record.tenant,
        aggregateversion=record.version,
        correlationid=record.command_id or record.aggregate_id,
        data={**{name: value for name, value in ids.items() if value}, **payload},
    )


_json = msgspec.json.Encoder()


def encode_cloud_event(record: EventRecord) -> bytes:
    return _json.encode(cloud_event(record))
