"""What a caller gets of a session's command. Optional and pluggable: without a serializer it is a SessionCommand."""

from typing import Any, Protocol

import msgspec

from quarterdeck.contracts.events import rfc3339
from quarterdeck.contracts.sessions import SessionCommandStatus
from quarterdeck.core.store import CommandView


class SessionCommand(msgspec.Struct, frozen=True, kw_only=True):
    """Seed 3's CommandInbox, as it is now."""

    command_id: str
    session_id: str
    round: int
    command_type: str
    payload: msgspec.Raw
    """JSON."""
    status: SessionCommandStatus
    state: str
    """The unified state; finer than `status`."""
    created_at: str
    """RFC 3339, UTC."""
    agent_id: str | None = None
    """Who does it, or did; None while nobody has it."""
    result: msgspec.Raw | None = None
    """JSON."""
    error: str | None = None
    completed_at: str | None = None

    @property
    def id(self) -> str:
        """As the document calls it."""
        return self.command_id

    @classmethod
    def of(cls, view: CommandView) -> "SessionCommand":
        """`view`: of a session's command."""
        return cls(
            command_id=view.command_id,
            session_id=view.session_id or "",
            round=view.round or 0,
            command_type=view.spec.command_type,
            payload=msgspec.Raw(view.spec.payload),
            status=SessionCommandStatus.of(view.state),
            state=view.state,
            created_at=rfc3339(view.created_at_ms),
            agent_id=view.agent_id if view.sent_at_ms is not None else None,
            result=msgspec.Raw(view.result.encode()) if view.result else None,
            error=view.error,
            completed_at=rfc3339(view.completed_at_ms) if view.completed_at_ms else None,
        )


class ConversationSerializer(Protocol):
    def serialize(self, command: SessionCommand) -> Any:
        """What the caller is given in place of `command`."""
        ...


class MembersSerializer:
    """Plain members: dicts, lists, texts and numbers."""

    def serialize(self, command: SessionCommand) -> dict[str, Any]:
        members: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(command))
        return members
