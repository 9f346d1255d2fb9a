"""Where each command of a run stands, as far as the events have told. A reducer: event in, changes out.

Owns ordering (lower versions are dropped, a new attempt begins anew) and nothing of how it is shown. Pure; fed by
watch.py, read by the sinks of output/ and by exit_codes.py.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from quarterdeck.contracts.events import COMMAND_ATTEMPT_FAILED
from quarterdeck.contracts.states import TERMINAL, CommandState


class Row(msgspec.Struct, kw_only=True):
    """One command of the run. Grows as events arrive; absent is None."""

    command_id: str
    target: str
    """`agent` or `agent/guest`."""
    state: CommandState = CommandState.PENDING
    attempt: int = 1
    version: int = 0
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None
    error: str | None = None
    result: str | None = None
    """JSON text of a handler."""
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout_sha256: str = ""
    """Hex, of the agent; empty until the end."""
    stderr_sha256: str = ""
    stdout_dropped_bytes: int = 0
    """Printed beyond the limit of kept output: nobody has them."""
    stderr_dropped_bytes: int = 0
    started_at_ms: int | None = None
    completed_at_ms: int | None = None

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL


_FRESH: Final[dict[str, Any]] = {
    "exit_code": None,
    "signal": None,
    "reason": None,
    "error": None,
    "result": None,
    "started_at_ms": None,
    "completed_at_ms": None,
    "stdout_bytes": 0,
    "stderr_bytes": 0,
    "stdout_sha256": "",
    "stderr_sha256": "",
    "stdout_dropped_bytes": 0,
    "stderr_dropped_bytes": 0,
}
"""Members of a row that belong to one attempt, as they are at its start."""

_TOLD_AS: Final = {"stdout_dropped_bytes": "stdout_truncated", "stderr_dropped_bytes": "stderr_truncated"}
_TAKEN: Final = tuple((name, _TOLD_AS.get(name, name)) for name in _FRESH)
"""Members, and what events call them."""


class Board:
    """All commands of one run, in the order of their targets."""

    def __init__(self, targets: Iterable[tuple[str, str]]) -> None:
        """`targets`: (command_id, target) pairs."""
        self.rows = {command_id: Row(command_id=command_id, target=target) for command_id, target in targets}

    def apply(self, event_type: str, version: int, facts: Mapping[str, Any]) -> Row | None:
        """`facts`: the data of a command's event. The row when it changed, None when the event was old news."""
        command_id = facts.get("command_id")
        if not isinstance(command_id, str):
            return None
        row = self.rows.get(command_id)
        if row is None:
            row = self.rows[command_id] = Row(command_id=command_id, target=_target(facts))
        if version <= row.version:
            return None
        row.version = version
        attempt = int(facts.get("attempt") or row.attempt)
        if event_type == COMMAND_ATTEMPT_FAILED:
            self.begin_attempt(command_id, attempt + 1)
            return row
        self.begin_attempt(command_id, attempt)
        row.state = _state(facts.get("state"), row.state)
        for name, told_as in _TAKEN:
            if (value := facts.get(told_as)) is not None:
                setattr(row, name, value)
        return row

    def begin_attempt(self, command_id: str, attempt: int) -> None:
        """What is known of an older attempt is forgotten; output may announce an attempt before its event does."""
        row = self.rows[command_id]
        if attempt <= row.attempt:
            return
        row.attempt, row.state = attempt, CommandState.PENDING
        for name, value in _FRESH.items():
            setattr(row, name, value)

    @property
    def counts(self) -> Counter[CommandState]:
        """Commands per state."""
        return Counter(row.state for row in self.rows.values())

    @property
    def ended(self) -> bool:
        """Whether every command has ended."""
        return all(row.ended for row in self.rows.values())


def _target(facts: Mapping[str, Any]) -> str:
    agent_id, guest = str(facts.get("agent_id", "?")), facts.get("guest")
    return f"{agent_id}/{guest}" if guest else agent_id


def _state(value: object, now: CommandState) -> CommandState:
    try:
        return CommandState(str(value))
    except ValueError:
        return now  # events without a state, or a state that only a newer server knows
