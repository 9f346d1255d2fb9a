"""Seed 4's bodies: a batch with all its tasks (S4-2 … S4-4). Absent values are null and present, as in the seed."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from quarterdeck.api.views import seed0
from quarterdeck.api.views.times import maybe_rfc3339
from quarterdeck.contracts.events import rfc3339
from quarterdeck.contracts.states import BatchState
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.core.store import BatchView, CommandView, StreamView

ACCEPTED_MESSAGE: Final = "Batch command task accepted and is being processed."
_SUMMARY_LINES: Final = 10

NameOf = Callable[[str], str]
"""agent_id → what people call the machine."""

STATUS_OF: Final[dict[S, str]] = {
    S.PENDING: "PENDING",
    S.WAITING: "PENDING",
    S.SENT: "SENT_TO_AGENT",
    S.ACCEPTED: "AGENT_ACCEPTED",
    S.EXECUTING: "EXECUTING",
    S.TERMINATING: "TERMINATING",
    S.SUCCEEDED: "SUCCESS",
    S.FAILED: "FAILURE",
    S.TIMED_OUT: "FAILURE",
    S.TERMINATED: "TERMINATED",
    S.UNREACHABLE: "AGENT_UNREACHABLE",
    S.REJECTED: "AGENT_REJECTED",
    S.EXPIRED: "AGENT_UNREACHABLE",
    S.SKIPPED: "TERMINATED",
    S.OUTCOME_UNKNOWN: "FAILURE",
}


class AcceptedBatch(msgspec.Struct, frozen=True, kw_only=True):
    batch_command_id: str
    status: str
    message: str = ACCEPTED_MESSAGE


class Task(msgspec.Struct, frozen=True, kw_only=True):
    child_command_id: str
    vps_id: str
    vps_name: str
    status: str
    exit_code: int | None
    output_stream_summary: list[str]
    stdout_truncated_bytes: int
    """Printed beyond `max_output_bytes`, and dropped."""
    stderr_truncated_bytes: int
    error_message: str | None
    created_at: str
    updated_at: str


class _Summary(msgspec.Struct, frozen=True, kw_only=True):
    batch_command_id: str
    overall_status: str
    execution_alias: str | None
    total: int
    counts: dict[str, int]
    """Tasks per status."""
    created_at: str
    updated_at: str
    completed_at: str | None


class BatchSummary(_Summary, frozen=True, kw_only=True):
    """As in lists: without its tasks."""


class Batch(_Summary, frozen=True, kw_only=True):
    tasks: list[Task]


class ManyBatches(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    batch_commands: list[BatchSummary]
    next_cursor: str | None


class StoppingBatch(msgspec.Struct, frozen=True, kw_only=True):
    batch_command_id: str
    status: str
    message: str


class StoppingTask(msgspec.Struct, frozen=True, kw_only=True):
    batch_command_id: str
    child_command_id: str
    status: str
    message: str


def accepted(batch_id: str, state: BatchState) -> bytes:
    return msgspec.json.encode(AcceptedBatch(batch_command_id=batch_id, status=state))


def batch(view: BatchView, children: Sequence[CommandView], name_of: NameOf) -> bytes:
    return msgspec.json.encode(
        Batch(
            batch_command_id=view.batch_id,
            overall_status=view.state,
            execution_alias=view.execution_alias,
            total=len(view.targets),
            counts=_counts(view),
            created_at=rfc3339(view.created_at_ms),
            updated_at=rfc3339(view.updated_at_ms),
            completed_at=maybe_rfc3339(view.completed_at_ms),
            tasks=[task(child, name_of) for child in children],
        )
    )


def many_batches(views: Sequence[BatchView], *, total: int, next_cursor: str | None) -> bytes:
    return msgspec.json.encode(
        ManyBatches(total=total, batch_commands=[_summary(view) for view in views], next_cursor=next_cursor)
    )


def task(view: CommandView, name_of: NameOf) -> Task:
    return Task(
        child_command_id=view.command_id,
        vps_id=view.target,
        vps_name=name_of(view.agent_id),
        status=STATUS_OF[view.state],
        exit_code=view.exit_code,
        output_stream_summary=_last_lines(view.stdout) + _last_lines(view.stderr),
        stdout_truncated_bytes=view.stdout.truncated_bytes,
        stderr_truncated_bytes=view.stderr.truncated_bytes,
        error_message=error_message(view),
        created_at=rfc3339(view.created_at_ms),
        updated_at=rfc3339(view.updated_at_ms),
    )


def error_message(view: CommandView) -> str | None:
    """What the agent or we have to say of a bad end; None while there is nothing to say."""
    match view.state:
        case S.TIMED_OUT:
            return view.error or f"timed out ({view.reason or 'execution'})"
        case S.OUTCOME_UNKNOWN:
            return view.error or "outcome unknown: the agent may have run it and cannot tell"
        case S.EXPIRED:
            return view.error or "the agent did not come back in time"
        case S.TERMINATED:
            return view.error
        case _:
            return view.error or seed0.error_of(view) or None


def _summary(view: BatchView) -> BatchSummary:
    return BatchSummary(
        batch_command_id=view.batch_id,
        overall_status=view.state,
        execution_alias=view.execution_alias,
        total=len(view.targets),
        counts=_counts(view),
        created_at=rfc3339(view.created_at_ms),
        updated_at=rfc3339(view.updated_at_ms),
        completed_at=maybe_rfc3339(view.completed_at_ms),
    )


def _counts(view: BatchView) -> dict[str, int]:
    counts: dict[str, int] = {}
    for state, number in view.counts.items():
        status = STATUS_OF[state]
        counts[status] = counts.get(status, 0) + number
    return counts


def _last_lines(stream: StreamView) -> list[str]:
    """The last whole lines of the tail. A first line that was cut is left out, unless there is no other."""
    lines = stream.tail.decode(errors="replace").splitlines()
    if len(lines) > 1 and stream.length > len(stream.tail):
        lines = lines[1:]
    return lines[-_SUMMARY_LINES:]
