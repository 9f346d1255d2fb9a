"""Seed 0's bodies: one command as `{success, command}`, a page as `{success, total, commands}` (S0-2 … S0-6).

The seed's members come first and are exactly the seed's: timeout in nanoseconds, empty ones omitted. Ours follow, all
optional.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from quarterdeck.api.views.times import maybe_rfc3339
from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.contracts.events import rfc3339
from quarterdeck.contracts.limits import PRIORITY_DEFAULT
from quarterdeck.contracts.links import Via
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.core.store import CommandView, StreamView
from quarterdeck.web.fates import error_of, ran_out

SENT_MESSAGE: Final = "Command sent successfully"
_NS_PER_MS: Final = 1_000_000
STATES_OF: Final[dict[str, tuple[S, ...]]] = {
    "pending": (S.PENDING, S.WAITING, S.SENT),
    "executing": (S.ACCEPTED, S.EXECUTING, S.TERMINATING),
    "completed": (S.SUCCEEDED,),
    "failed": (
        S.FAILED,
        S.TERMINATED,
        S.UNREACHABLE,
        S.REJECTED,
        S.EXPIRED,
        S.SKIPPED,
        S.OUTCOME_UNKNOWN,
    ),
    "timeout": (S.TIMED_OUT, S.OUTCOME_UNKNOWN),
}
"""Seed-0 status → states that may show as it. `outcome_unknown` shows as one or the other: see `status_of`."""

_STATUS_OF: Final[dict[S, str]] = {
    state: status for status, states in reversed(STATES_OF.items()) for state in states
}


class Stream(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    bytes: int
    sha256: str = ""
    verified: bool = False
    """The stored log has the agent's length and digest."""
    truncated_bytes: int = 0
    lost: tuple[tuple[int, int], ...] = ()
    """What the log has not any more: (first byte, byte behind the last)."""


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    command_id: str
    client_id: str
    command_type: str
    payload: Raw
    status: str
    result: Raw | UnsetType = UNSET
    error: str = ""
    created_at: str
    sent_at: str | None = None
    completed_at: str | None = None
    timeout: int
    """Nanoseconds."""

    state: str
    """The unified state; finer than `status`."""
    reason: str = ""
    attempt: int = 1
    exit_code: int | None = None
    signal: int | None = None
    priority: int = PRIORITY_DEFAULT
    batch_id: str | None = None
    depends_on: tuple[str, ...] = ()
    cached_from: str | None = None
    """The command whose answer this one was given."""
    via: Via | None = None
    """The wire that it took to its agent; absent while it was not sent."""
    accepted_at: str | None = None
    started_at: str | None = None
    stdout: Stream | None = None
    stderr: Stream | None = None


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    success: bool = True
    command_id: str
    message: str = SENT_MESSAGE


class SubmittedBatch(msgspec.Struct, frozen=True, kw_only=True):
    success: bool = True
    batch_command_id: str
    status: str
    message: str


class OneCommand(msgspec.Struct, frozen=True, kw_only=True):
    success: bool = True
    command: Command


class ManyCommands(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    success: bool
    total: int
    commands: list[Command]
    next_cursor: str | None = None


class Stopping(msgspec.Struct, frozen=True, kw_only=True):
    success: bool = True
    command_id: str
    status: str
    message: str


def command(view: CommandView) -> Command:
    return Command(
        command_id=view.command_id,
        client_id=view.target,
        command_type=view.spec.command_type,
        payload=Raw(view.spec.payload),
        status=status_of(view),
        result=Raw(view.result.encode()) if view.result else UNSET,
        error=error_of(view),
        created_at=rfc3339(view.created_at_ms),
        sent_at=maybe_rfc3339(view.sent_at_ms),
        completed_at=maybe_rfc3339(view.completed_at_ms),
        timeout=view.spec.timeout_ms * _NS_PER_MS,
        state=view.state,
        reason=view.reason or "",
        attempt=view.attempt,
        exit_code=view.exit_code,
        signal=view.signal,
        priority=view.spec.priority,
        batch_id=view.batch_id,
        depends_on=view.spec.depends_on,
        cached_from=view.cached_from,
        via=Via.of_command(view.via, view.guest, view.spec.command_type),
        accepted_at=maybe_rfc3339(view.accepted_at_ms),
        started_at=maybe_rfc3339(view.started_at_ms),
        stdout=_stream(view.stdout),
        stderr=_stream(view.stderr),
    )


def one_command(view: CommandView) -> bytes:
    return msgspec.json.encode(OneCommand(command=command(view)))


def many_commands(
    views: Sequence[CommandView], *, total: int, next_cursor: str | None, status: str | None
) -> bytes:
    """`status`: show only those that show as it; the store's filter is by state and lets a few more through."""
    shown = [command(view) for view in views if status is None or status_of(view) == status]
    return msgspec.json.encode(
        ManyCommands(success=True, total=total, commands=shown, next_cursor=next_cursor)
    )


def states_filter(status: str | None) -> tuple[S, ...]:
    """The states to ask the store for. Raises InvalidInput for a status that seed 0 does not know."""
    if status is None:
        return ()
    if status not in STATES_OF:
        raise InvalidInput(f"status: expected one of {', '.join(STATES_OF)}", field="status", value=status)
    return STATES_OF[status]


def status_of(view: CommandView) -> str:
    """pending, executing, completed, failed or timeout (S0-6)."""
    return "timeout" if ran_out(view) else status_of_state(view.state)


def status_of_state(state: S) -> str:
    """As `status_of`, where nothing but the state is known."""
    return _STATUS_OF[state]


def _stream(view: StreamView) -> Stream | None:
    if view.length == 0 and not view.sha256:
        return None
    return Stream(
        bytes=view.length,
        sha256=view.sha256,
        verified=view.verified,
        truncated_bytes=view.truncated_bytes,
        lost=view.lost,
    )
