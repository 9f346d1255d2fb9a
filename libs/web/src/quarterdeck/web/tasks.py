"""Seed 4's words for a batch and its tasks: statuses and the bodies that tell them (S4-4). Pure.

Absent values are null and present, as in the seed. Called by the api's views and by the broadcaster's WebSocket.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from quarterdeck.contracts.events import rfc3339
from quarterdeck.contracts.links import Via
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.core.store import BatchView, CommandView, StreamView
from quarterdeck.web.fates import error_message

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
    via: Via | None
    """The wire that it took to its agent; null while it was not sent."""
    created_at: str
    updated_at: str


class BatchFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What every body of a batch tells."""

    batch_command_id: str
    overall_status: str
    execution_alias: str | None
    total: int
    counts: dict[str, int]
    """Tasks per status."""
    created_at: str
    updated_at: str
    completed_at: str | None


class BatchSummary(BatchFacts, frozen=True, kw_only=True):
    """As in lists: without its tasks."""


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
        via=Via.of_command(view.via, view.guest, view.spec.command_type),
        created_at=rfc3339(view.created_at_ms),
        updated_at=rfc3339(view.updated_at_ms),
    )


def summary(view: BatchView) -> BatchSummary:
    return BatchSummary(
        batch_command_id=view.batch_id,
        overall_status=view.state,
        execution_alias=view.execution_alias,
        total=len(view.targets),
        counts=count_statuses(view.counts),
        created_at=rfc3339(view.created_at_ms),
        updated_at=rfc3339(view.updated_at_ms),
        completed_at=None if view.completed_at_ms is None else rfc3339(view.completed_at_ms),
    )


def count_statuses(counts: Mapping[S, int]) -> dict[str, int]:
    """Tasks per status, of children per state."""
    statuses: dict[str, int] = {}
    for state, number in counts.items():
        status = STATUS_OF[state]
        statuses[status] = statuses.get(status, 0) + number
    return statuses


def _last_lines(stream: StreamView) -> list[str]:
    """The last whole lines of the tail. A first line that was cut is left out, unless there is no other."""
    lines = stream.tail.decode(errors="replace").splitlines()
    if len(lines) > 1 and stream.length > len(stream.tail):
        lines = lines[1:]
    return lines[-_SUMMARY_LINES:]
