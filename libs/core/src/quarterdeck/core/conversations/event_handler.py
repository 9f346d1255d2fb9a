"""The domain event of a session's command: what it tells, and that the bus has it before anybody hears of it."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from quarterdeck.contracts.event_payloads import spec_document
from quarterdeck.contracts.events import SESSION_ROUND_CREATED, EventRecord
from quarterdeck.contracts.sessions import ANY_AGENT, domain_event_name
from quarterdeck.core.conversations import log_points
from quarterdeck.core.conversations.requests import SessionRequest
from quarterdeck.core.outbox import Relay
from quarterdeck.core.store import OutboxEntry, SessionView

AGGREGATE_TYPE: Final = "Session"
_records: msgspec.msgpack.Decoder[EventRecord] = msgspec.msgpack.Decoder(EventRecord)


class ConversationEventHandler:
    """Outbox entries have the event's id, its subject as topic and the session as key (CloudEvents' `subject`)."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def domain_event(self, request: SessionRequest, session: SessionView, command_id: str) -> dict[str, Any]:
        """What `session.round_created` tells; the store adds the round's number. Correlated by the command's id."""
        return {
            "session_id": request.session_id,
            "aggregate_type": AGGREGATE_TYPE,
            "event_type": domain_event_name(request.command_type),
            "command_id": command_id,
            "command_type": request.command_type,
            "payload": request.payload.decode(),
            "owner": session.owner,
            "session_created_at_ms": session.created_at_ms,
        }

    def accepted(self, request: SessionRequest) -> dict[str, Any]:
        """What `command.accepted` tells: all that the command is rebuilt from."""
        key = request.idempotency_key
        return {
            "agent_id": ANY_AGENT,
            "user_id": request.user_id,
            "session_id": request.session_id,
            "spec": spec_document(request.spec),
            **({"idempotency_key": key, "body_hash": request.body_hash} if key is not None else {}),
        }

    def note(self, entries: Sequence[OutboxEntry]) -> None:
        """Logs the domain event among what a creation left in the outbox."""
        for entry in entries:
            if entry.kind == "e":
                record = _records.decode(entry.body)
                if record.type == SESSION_ROUND_CREATED:
                    log_points.event_generated(
                        record.aggregate_id,
                        record.command_id or "",
                        record.event_id,
                        record.payload["event_type"],
                    )

    async def ensure(self, entries: Sequence[OutboxEntry], command_id: str) -> None:
        """Returns when the bus has all of `entries`: a new command's, or what the writer of an earlier one left.

        Raises NotConfirmed; then they stay in the outbox, and a sweep or the next request finishes.
        """
        await self._relay.publish(entries, subject_id=command_id)
