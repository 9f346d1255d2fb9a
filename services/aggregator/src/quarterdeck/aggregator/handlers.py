"""What reports mean, as pure functions: reports in, moves and amendments out. No NATS, no Redis.

All that one pull says of one attempt becomes one transition: a command that was accepted, started and finished between
two pulls is completed in one step, with all its times.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from quarterdeck.contracts.reports import (
    Accepted,
    Progress,
    Rejected,
    Report,
    Result,
    Returned,
    Started,
    StreamReport,
    TerminateAcked,
)
from quarterdeck.contracts.states import RANK, CommandState
from quarterdeck.core.store import LostOutput, Move

_STREAMS: Final = ("stdout", "stderr")


class Verified(msgspec.Struct, frozen=True):
    """Whether the bus holds, for each stream, exactly what the agent says it sent."""

    stdout: bool
    stderr: bool
    lost: tuple[LostOutput, ...] = ()
    """What the bus does not have any more of what the agent sent."""


class Story(msgspec.Struct):
    """What one pull says of one attempt of one command."""

    command_id: str
    attempt: int
    agent_id: str
    to: CommandState | None = None
    at_ms: int = 0
    fields: dict[str, Any] = {}
    result: Result | None = None
    returned: list[str] = []
    """The hand-overs that a gateway proved not to have written."""
    stop_acked: bool = False

    def reached(self, state: CommandState, at_ms: int) -> None:
        if self.to is None or RANK[state] > RANK[self.to]:
            self.to, self.at_ms = state, at_ms


def read(reports: Iterable[Report]) -> list[Story]:
    """One story per (command, attempt, agent), in the order of first mention."""
    stories: dict[tuple[str, int, str], Story] = {}
    for report in reports:
        key = report.command_id, report.attempt, report.agent_id
        story = stories.get(key)
        if story is None:
            story = stories[key] = Story(*key)
        _tell(story, report)
    return list(stories.values())


def by(tenant: str, story: Story) -> str:
    """Whose word it is; the store refuses it when the command is not that agent's."""
    return f"{tenant}/{story.agent_id}"


def move_of(tenant: str, story: Story, verified: Verified) -> Move | None:
    """The transition that a story asks for; None when it only amends."""
    if story.to is None:
        return None
    fields = dict(story.fields)
    if story.result is not None:
        fields |= _result_fields(story.result, verified)
    return Move(story.command_id, story.attempt, story.to, story.at_ms, fields, by=by(tenant, story))


def digest_matches(stream: StreamReport) -> bool | None:
    """None: the gateway did not see the stream from its start; the log has to be read."""
    if stream.length == 0:
        return True
    if not stream.sha256:
        return False  # the agent vouches for nothing: its executor was killed
    if not stream.stored_sha256:
        return None
    return stream.stored_sha256 == stream.sha256


def _tell(story: Story, report: Report) -> None:
    match report:
        case Accepted():
            story.reached(CommandState.ACCEPTED, report.at_ms)
            story.fields["accepted_at_ms"] = report.at_ms
        case Started():
            story.reached(CommandState.EXECUTING, report.at_ms)
            story.fields["started_at_ms"] = report.at_ms
        case Rejected():
            story.reached(CommandState.REJECTED, report.at_ms)
            story.fields |= {"completed_at_ms": report.at_ms, "reason": report.reason, "error": report.error}
        case Result():
            story.reached(report.end, report.at_ms)
            story.result = report
        case Progress():
            story.fields |= _progress_fields(report)
        case Returned():
            story.returned.append(report.handover)
        case TerminateAcked():
            story.stop_acked = True
            if report.never_started:
                story.reached(CommandState.TERMINATED, report.at_ms)
                story.fields |= {"completed_at_ms": report.at_ms, "reason": "cancelled_before_start"}


def _progress_fields(report: Progress) -> dict[str, Any]:
    fields: dict[str, Any] = {"last_output_at_ms": report.at_ms}
    for name in _STREAMS:
        stream: StreamReport | None = getattr(report, name)
        if stream is not None:
            fields[f"{name}_bytes"] = stream.length
            fields[f"{name}_tail"] = stream.tail
    return fields


def _result_fields(result: Result, verified: Verified) -> dict[str, Any]:
    fields: dict[str, Any] = {"completed_at_ms": result.at_ms}
    optional = {
        "started_at_ms": result.started_at_ms,
        "exit_code": result.exit_code,
        "signal": result.signal,
        "reason": result.reason,
        "error": result.error,
        "result": result.result.decode(),
    }
    fields |= {name: value for name, value in optional.items() if value not in {None, ""}}
    for name in _STREAMS:
        stream: StreamReport = getattr(result, name)
        if stream.length == 0 and stream.truncated_bytes == 0:
            continue
        fields[f"{name}_bytes"] = stream.length
        fields[f"{name}_sha256"] = stream.sha256.hex()
        fields[f"{name}_verified"] = int(getattr(verified, name))
        fields[f"{name}_tail"] = stream.tail
        if stream.truncated_bytes:
            fields[f"{name}_truncated"] = stream.truncated_bytes
    return fields
