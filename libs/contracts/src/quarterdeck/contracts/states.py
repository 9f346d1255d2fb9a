"""States of commands and batches, their order of truth, and which move may follow which.

The one table of legal moves. Redis scripts are generated from it (core/store), the property tests hold the scripts
against it, and the documentation draws it.
"""

from enum import StrEnum
from typing import Final


class CommandState(StrEnum):
    """Where one command stands. Drawn in ARCHITECTURE.md."""

    PENDING = "pending"
    WAITING = "waiting"
    SENT = "sent"
    ACCEPTED = "accepted"
    EXECUTING = "executing"
    TERMINATING = "terminating"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    TERMINATED = "terminated"
    UNREACHABLE = "unreachable"
    REJECTED = "rejected"
    EXPIRED = "expired"
    SKIPPED = "skipped"
    OUTCOME_UNKNOWN = "outcome_unknown"


class BatchState(StrEnum):
    PENDING = "PENDING"
    IN_PROGRESS = "IN_PROGRESS"
    TERMINATING = "TERMINATING"
    COMPLETED_SUCCESSFULLY = "COMPLETED_SUCCESSFULLY"
    COMPLETED_WITH_ERRORS = "COMPLETED_WITH_ERRORS"
    TERMINATED = "TERMINATED"
    FAILED_TO_START = "FAILED_TO_START"


S = CommandState

_PROVEN_ENDS: Final = frozenset({S.SUCCEEDED, S.FAILED, S.TIMED_OUT, S.TERMINATED, S.OUTCOME_UNKNOWN})

TERMINAL: Final = _PROVEN_ENDS | {S.UNREACHABLE, S.REJECTED, S.EXPIRED, S.SKIPPED}
"""Absorbing for an attempt."""

BATCH_TERMINAL: Final = frozenset(
    {
        BatchState.COMPLETED_SUCCESSFULLY,
        BatchState.COMPLETED_WITH_ERRORS,
        BatchState.TERMINATED,
        BatchState.FAILED_TO_START,
    }
)

RANK: Final[dict[CommandState, int]] = {
    S.PENDING: 0,
    S.WAITING: 1,
    S.SENT: 2,
    S.ACCEPTED: 3,
    S.EXECUTING: 4,
    S.TERMINATING: 5,
    **dict.fromkeys(TERMINAL, 6),
}
"""Order of truth within an attempt: a stored state only ever gives way to a higher rank."""

LEGAL: Final[dict[CommandState, frozenset[CommandState]]] = {
    S.PENDING: frozenset(
        {S.WAITING, S.SENT, S.UNREACHABLE, S.TERMINATED, S.REJECTED, S.EXPIRED, S.SKIPPED, S.TIMED_OUT}
    ),
    S.WAITING: frozenset({S.SENT, S.EXPIRED, S.TERMINATED, S.SKIPPED, S.UNREACHABLE}),
    S.SENT: _PROVEN_ENDS | {S.ACCEPTED, S.EXECUTING, S.TERMINATING, S.REJECTED, S.UNREACHABLE},
    S.ACCEPTED: _PROVEN_ENDS | {S.EXECUTING, S.TERMINATING, S.REJECTED},
    S.EXECUTING: _PROVEN_ENDS | {S.TERMINATING},
    S.TERMINATING: _PROVEN_ENDS,
    **dict.fromkeys(TERMINAL, frozenset[CommandState]()),
}

NEVER_RAN: Final = frozenset({S.REJECTED, S.UNREACHABLE})
"""Ends that prove that nothing started. Behind a cancel they mean what was asked for: `terminated`."""

RETRYABLE: Final = frozenset({S.FAILED, S.TIMED_OUT, S.UNREACHABLE})
"""Ends that a retry policy may answer with another attempt. `outcome_unknown` never is: a silent second run."""

COUNTS_AS_FAILURE: Final = frozenset({S.FAILED, S.TIMED_OUT, S.REJECTED, S.OUTCOME_UNKNOWN})
"""Ends that a batch's failure threshold counts. `unreachable` has a threshold of its own."""

EVENT_OF: Final[dict[CommandState, str]] = {
    S.WAITING: "command.waiting",
    S.SENT: "command.sent",
    S.ACCEPTED: "command.acknowledged",
    S.EXECUTING: "command.started",
    S.TERMINATING: "command.terminating",
    **dict.fromkeys(TERMINAL, "command.completed"),
}
"""The event type that entering a state writes. `pending` is written by creation (`command.accepted`)."""


def may_move(current: CommandState, new: CommandState) -> bool:
    """Whether `new` may follow `current` within one attempt."""
    return new in LEGAL[current]


def settle(current: CommandState, new: CommandState) -> CommandState:
    """What a report of `new` means at `current`: a cancelled command that never ran was terminated."""
    return S.TERMINATED if current is S.TERMINATING and new in NEVER_RAN else new


def batch_end(counts: dict[CommandState, int], *, terminate_requested: bool) -> BatchState:
    """The end of a batch whose children are all terminal; `counts`: children per state."""
    total = sum(counts.values())
    if terminate_requested:
        return BatchState.TERMINATED
    if counts.get(S.UNREACHABLE, 0) == total:
        return BatchState.FAILED_TO_START
    if counts.get(S.SUCCEEDED, 0) == total:
        return BatchState.COMPLETED_SUCCESSFULLY
    return BatchState.COMPLETED_WITH_ERRORS
