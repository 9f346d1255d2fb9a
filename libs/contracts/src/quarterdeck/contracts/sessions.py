"""Sessions: conversations of one user, one command at a time, each with its round. Source: seed 3.

Owns the words of that document (statuses, names) as views of ours. A session's command names no agent: whoever can do
its command type gets it.
"""

from enum import StrEnum
from typing import Final

from quarterdeck.contracts.states import TERMINAL, CommandState

ANY_AGENT: Final = "*"
"""The agent of a session's command until it is sent to one. No agent's id can look like it (ids.ID_PATTERN)."""

QUEUE_FOR_MS: Final = 30 * 60 * 1000
"""How long a session's command waits for somebody who can do it."""


class SessionCommandStatus(StrEnum):
    """Seed 3's CommandStatus."""

    RECEIVED = "RECEIVED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"

    @classmethod
    def of(cls, state: CommandState) -> "SessionCommandStatus":
        if state is CommandState.SUCCEEDED:
            return cls.COMPLETED
        if state in TERMINAL:
            return cls.FAILED
        return cls.RECEIVED if state in _NOT_SENT else cls.PROCESSING


_NOT_SENT: Final = frozenset({CommandState.PENDING, CommandState.WAITING})


def whoever_can(command_type: str) -> str:
    """The name under which commands of this type wait for any agent that can do it."""
    return f"{ANY_AGENT}{command_type}"


def domain_event_name(command_type: str) -> str:
    """Seed 3's event type: `<Scope>.Session.Command.Received`, the scope being the first word of the command type."""
    scope = command_type.replace(".", "_").replace("-", "_").partition("_")[0].capitalize()
    return f"{scope or 'Command'}.Session.Command.Received"
