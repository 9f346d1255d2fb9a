"""Bodies of sessions: `{success, command}` as seed 3 has them."""

import msgspec
from msgspec import UNSET, Raw, UnsetType

from quarterdeck.contracts.sessions import SessionCommandStatus
from quarterdeck.core.conversations import SessionCommand


class Session(msgspec.Struct, frozen=True, kw_only=True):
    success: bool = True
    session_id: str
    owner: str
    created_at: str
    """RFC 3339, UTC."""


class OneSessionCommand(msgspec.Struct, frozen=True, kw_only=True):
    success: bool = True
    command: SessionCommand


class MaybeCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A SessionCommand, or `{"command_id": null}` and nothing else."""

    command_id: str | None
    session_id: str | UnsetType = UNSET
    round: int | UnsetType = UNSET
    command_type: str | UnsetType = UNSET
    payload: Raw | UnsetType = UNSET
    status: SessionCommandStatus | UnsetType = UNSET
    state: str | UnsetType = UNSET
    created_at: str | UnsetType = UNSET
    agent_id: str | UnsetType | None = UNSET
    result: Raw | UnsetType | None = UNSET
    error: str | UnsetType | None = UNSET
    completed_at: str | UnsetType | None = UNSET


class PendingCommand(msgspec.Struct, frozen=True, kw_only=True):
    success: bool = True
    command: MaybeCommand


def pending_command(command: SessionCommand | None) -> PendingCommand:
    if command is None:
        return PendingCommand(command=MaybeCommand(command_id=None))
    return PendingCommand(command=MaybeCommand(**msgspec.structs.asdict(command)))
