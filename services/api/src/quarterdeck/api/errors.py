"""Errors that only this service has, and how they answer.

QuarterdeckError
├── InvalidInput
│   ├── ExactlyOneOf        several members of a request exclude each other
│   ├── UnknownTargets      targets of a batch that no registry entry names
│   └── UnknownDependencies commands or batches to depend on that the tenant has not
├── CommandNotAllowed       the tenant's policy does not list this command type
├── ApprovalNotAwaited      the command or batch waits for no approval (any more)
├── OwnApproval             nobody approves what they ordered
├── RateLimited             too many requests of one principal, or commands for one agent
├── NotConfirmed
│   └── BatchNotConfirmed
├── OutputTrimmed           the log begins after the offset that was asked for
├── CallTimedOut            an agent was asked, and its answer did not come in time
└── AgentFailed             an agent was asked, and could not do it
"""

from typing import Final

from quarterdeck.contracts.errors import InvalidInput, NotAuthorised, NotConfirmed, QuarterdeckError
from quarterdeck.core.conversations import (
    SessionAccessDenied,
    SessionConflict,
    SessionInputInvalid,
    SessionNotFound,
    SessionStorageFailed,
)
from quarterdeck.core.registry import AgentIdTaken, IdentityTaken
from quarterdeck.web import problems
from quarterdeck.web.problems import Row

_SHOWN_TARGETS: Final = 5


class ExactlyOneOf(InvalidInput):
    """`fields`: the members of which exactly one must be there."""

    code = "exactly_one_required"

    def __init__(self, *fields: str) -> None:
        super().__init__(f"exactly one of {' and '.join(fields)} is required", field=fields[0])
        self.fields = fields


class UnknownTargets(InvalidInput):
    """`unknown`: all of them, in the order of the request."""

    code = "unknown_agent"

    def __init__(self, unknown: tuple[str, ...], *, field: str) -> None:
        shown = ", ".join(unknown[:_SHOWN_TARGETS]) + (", …" if len(unknown) > _SHOWN_TARGETS else "")
        super().__init__(f"{field}: no such agent: {shown}", field=field)
        self.unknown = unknown


class UnknownDependencies(InvalidInput):
    """`unknown`: in the order of the request."""

    code = "unknown_dependency"

    def __init__(self, unknown: tuple[str, ...]) -> None:
        super().__init__(f"depends_on: no such command or batch: {', '.join(unknown)}", field="depends_on")
        self.unknown = unknown


class CommandNotAllowed(QuarterdeckError):
    code = "command_not_allowed"

    def __init__(self, command_type: str) -> None:
        super().__init__(
            f"command_type: {command_type} is not among those allowed here", field="command_type"
        )
        self.command_type = command_type


class ApprovalNotAwaited(QuarterdeckError):
    code = "approval_not_awaited"

    def __init__(self, subject_id: str) -> None:
        super().__init__(f"{subject_id} does not wait for an approval")


class OwnApproval(NotAuthorised):
    code = "own_approval"

    def __init__(self) -> None:
        super().__init__("somebody else must approve it, not the one who ordered it")


class RateLimited(QuarterdeckError):
    """`policy`: which limit; `quota` of them in `window_s`; one fits again after `retry_after_s`."""

    code = "rate_limited"

    def __init__(self, policy: str, *, quota: int, window_s: int, retry_after_s: int) -> None:
        super().__init__(f"{policy}: more than {quota} in {window_s} s")
        self.policy = policy
        self.quota = quota
        self.window_s = window_s
        self.retry_after_s = retry_after_s


class BatchNotConfirmed(NotConfirmed):
    """As NotConfirmed; `subject_id` is a batch."""


class OutputTrimmed(QuarterdeckError):
    """`first_offset`: where the stored log of this stream begins now."""

    code = "output_trimmed"

    def __init__(self, offset: int, first_offset: int) -> None:
        super().__init__(
            f"offset: {offset} is no longer stored, the log begins at {first_offset}", field="offset"
        )
        self.first_offset = first_offset


class CallTimedOut(QuarterdeckError):
    """The command goes on. The text is seed 1's."""

    code = "agent_timeout"

    def __init__(self, command_id: str, waited_s: float) -> None:
        super().__init__(f"timeout({waited_s:g}s) to run agent command")
        self.command_id = command_id
        self.waited_s = waited_s


class AgentFailed(QuarterdeckError):
    """`state`: how the command ended; `reason`: its stable code, or empty."""

    code = "agent_failed"

    def __init__(self, command_id: str, state: str, reason: str, error: str) -> None:
        super().__init__(error or f"the command ended as {state}")
        self.command_id = command_id
        self.state = state
        self.reason = reason


ROWS: Final = problems.ROWS | {
    ExactlyOneOf: Row(422, members={"fields": "fields"}),
    UnknownTargets: Row(422, members={"unknown": "unknown"}),
    UnknownDependencies: Row(422, members={"unknown": "unknown"}),
    CommandNotAllowed: Row(403),
    ApprovalNotAwaited: Row(409),
    RateLimited: Row(429, members={"retry_after_s": "retry_after_s"}),
    BatchNotConfirmed: Row(503, members={"batch_command_id": "subject_id"}),
    OutputTrimmed: Row(410, members={"first_offset": "first_offset"}),
    CallTimedOut: Row(504, members={"command_id": "command_id"}),
    AgentFailed: Row(502, members={"command_id": "command_id", "state": "state", "reason": "reason"}),
    SessionAccessDenied: Row(403),
    SessionNotFound: Row(404),
    SessionInputInvalid: Row(400),
    SessionConflict: Row(409),
    SessionStorageFailed: Row(500, headers={"Retry-After": "1"}),
    AgentIdTaken: Row(409),
    IdentityTaken: Row(409),
}
