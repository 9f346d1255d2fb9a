"""Between the wire's protobuf and our contracts, both ways. Pure: message in, message out.

Called by the native link and its parts. Ids and enum values that an agent sends are checked here, before anything
else sees them: they would otherwise end in subjects and keys.
"""

from collections.abc import Collection
from typing import Final

import msgspec

from quarterdeck.contracts import reports
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.guests import MAX_GUESTS
from quarterdeck.contracts.ids import ID_PATTERN
from quarterdeck.contracts.limits import MAX_ERROR_CHARS, MAX_MESSAGE_BYTES
from quarterdeck.contracts.links import Epoch, LinkEnd
from quarterdeck.contracts.orders import GatewayOrder
from quarterdeck.contracts.states import CommandState
from quarterdeck.wire.agent_v1 import agent_pb2 as pb

MAX_RESULT_BYTES: Final = MAX_MESSAGE_BYTES // 2
"""Largest result of a handler: a report must fit into one bus message, with room for its tails."""
_LAST_TIME_MS: Final = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z, the last that RFC 3339 can write."""
_ROOM_AROUND: Final = 100
"""Levels of nesting that a result leaves to those who read it as a part of something larger."""
_MAX_REASON_CHARS: Final = 64

_STATE_OF: Final = {
    pb.SUCCEEDED: CommandState.SUCCEEDED,
    pb.FAILED: CommandState.FAILED,
    pb.TIMED_OUT: CommandState.TIMED_OUT,
    pb.TERMINATED: CommandState.TERMINATED,
    pb.OUTCOME_UNKNOWN: CommandState.OUTCOME_UNKNOWN,
}

SimpleReport = pb.Accepted | pb.Started | pb.Rejected | pb.TerminateAck


class OrderSheet(msgspec.Struct, frozen=True, kw_only=True):
    """What all orders of one request share; the spec is serialised once, however many links get it."""

    tenant: str
    spec: bytes
    """pb.CommandSpec, serialised."""
    priority: int
    batch_id: str | None = None
    handover: str = ""
    expires_ms: int = 0
    traceparent: str = ""


def spec_bytes(spec: CommandSpec) -> bytes:
    """The wire form of `spec`. Its timeout is not in it: that one is per order."""
    return pb.CommandSpec(
        command_type=spec.command_type,
        payload=spec.payload,
        working_directory=spec.working_directory or "",
        env=spec.env,
        no_output_timeout_ms=spec.no_output_timeout_ms or 0,
        grace_ms=spec.grace_ms,
        priority=spec.priority,
        max_output_bytes=spec.max_output_bytes,
    ).SerializeToString()


def wire_epoch(epoch: Epoch) -> pb.Epoch:
    return pb.Epoch(incarnation=epoch.incarnation, revision=epoch.revision)


def order_message(sheet: OrderSheet, order: GatewayOrder) -> bytes:
    """A serialised GatewayMessage."""
    return pb.GatewayMessage(
        order=pb.Order(
            command_id=order.command_id,
            attempt=order.attempt,
            epoch=wire_epoch(order.epoch),
            spec=sheet.spec,
            timeout_ms=order.timeout_ms,
            guest=order.guest or "",
            traceparent=sheet.traceparent,
            batch_id=sheet.batch_id or "",
            expires_ms=sheet.expires_ms,
        )
    ).SerializeToString()


def check_wire_id(value: str, field: str) -> str:
    """Raises LinkRefused(protocol): an agent of ours never sends such an id."""
    if not ID_PATTERN.match(value):
        raise LinkRefused(LinkEnd.PROTOCOL, f"{field} is outside the id pattern")
    return value


def guests_of(names: Collection[str]) -> tuple[str, ...]:
    """The guests that an agent names, each once, sorted. Raises LinkRefused(protocol)."""
    if len(names) > MAX_GUESTS:
        raise LinkRefused(LinkEnd.PROTOCOL, f"{len(names)} guests")
    return tuple(sorted({check_wire_id(name, "guest") for name in names}))


def possible_time_ms(at_ms: int) -> int:
    """`at_ms`, forced between 1970 and 9999: an agent's clock may be wrong, but nobody behind us may choke on it."""
    return min(max(at_ms, 0), _LAST_TIME_MS)


def report_of(message: SimpleReport, agent_id: str) -> reports.Report:
    """Accepted, Rejected, Started and TerminateAck, as the aggregator reads them. Raises LinkRefused(protocol)."""
    command_id = check_wire_id(message.command_id, "command_id")
    attempt, at_ms = message.attempt, possible_time_ms(message.at_ms)
    if isinstance(message, pb.Accepted):
        return reports.Accepted(command_id=command_id, attempt=attempt, agent_id=agent_id, at_ms=at_ms)
    if isinstance(message, pb.Started):
        return reports.Started(command_id=command_id, attempt=attempt, agent_id=agent_id, at_ms=at_ms)
    if isinstance(message, pb.TerminateAck):
        return reports.TerminateAcked(
            command_id=command_id,
            attempt=attempt,
            agent_id=agent_id,
            at_ms=at_ms,
            never_started=message.never_started,
        )
    return reports.Rejected(
        command_id=command_id,
        attempt=attempt,
        agent_id=agent_id,
        at_ms=at_ms,
        reason=message.reason[:_MAX_REASON_CHARS],
        error=message.error[:MAX_ERROR_CHARS],
    )


def result_of(
    message: pb.Result, agent_id: str, stdout: reports.StreamReport, stderr: reports.StreamReport
) -> reports.Result:
    """The end of a command. Raises LinkRefused(protocol) when it names no end.

    A handler's result that no bus message can hold, or that is no JSON, becomes a failure that says so: repeating it
    would not help.
    """
    end = _STATE_OF.get(message.end)
    if end is None:
        raise LinkRefused(LinkEnd.PROTOCOL, "a result without an end")
    reason, error, result = (
        message.reason[:_MAX_REASON_CHARS],
        message.error[:MAX_ERROR_CHARS],
        message.result,
    )
    if len(result) > MAX_RESULT_BYTES:
        end, reason, result = CommandState.FAILED, "result_too_large", b""
        error = f"the handler's result has {len(message.result)} bytes, limit {MAX_RESULT_BYTES}"
    elif result and (flaw := _flaw_of(result)):
        end, reason, result = CommandState.FAILED, "invalid_result", b""
        error = f"the handler's result is no JSON that we can read: {flaw}"
    return reports.Result(
        command_id=message.command_id,
        attempt=message.attempt,
        agent_id=agent_id,
        at_ms=possible_time_ms(message.completed_at_ms),
        end=end,
        reason=reason,
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        signal=message.signal if message.HasField("signal") else None,
        result=result,
        error=error,
        started_at_ms=possible_time_ms(message.started_at_ms) or None,
        stdout=stdout,
        stderr=stderr,
    )


def _flaw_of(result: bytes) -> str:
    """What keeps `result` from being embedded in events and answers as it is; empty: nothing."""
    try:
        result.decode()
        msgspec.json.decode(b"[" * _ROOM_AROUND + result + b"]" * _ROOM_AROUND)
        msgspec.json.decode(result)  # alone: brackets of its own must not close ours
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:
        return str(error)[:200]
    return ""


def goodbye(reason: str, text: str = "") -> pb.GatewayMessage:
    return pb.GatewayMessage(goodbye=pb.Goodbye(reason=reason, message=text))
