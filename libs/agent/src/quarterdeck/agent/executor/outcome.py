"""What a run is, how it ends, and how that is written down before it becomes a Result."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from quarterdeck.agent.executor.journal.entries import CommandKey
from quarterdeck.agent.executor.streams import CommandOutput
from quarterdeck.contracts.limits import MAX_ERROR_CHARS
from quarterdeck.wire.agent_v1 import agent_pb2 as pb


class StopOrder(msgspec.Struct, frozen=True):
    """Somebody wants a running command to end."""

    end: "pb.End.ValueType"
    """What the command's end will be, once it is proven."""
    reason: str
    """Stable code (wire.codes.ResultReason), or empty."""
    grace_s: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    end: "pb.End.ValueType"
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    result: bytes = b""
    """JSON text."""
    error: str = ""
    started_at_ms: int = 0
    """0: it never started."""


class RunStarted(msgspec.Struct, frozen=True):
    """A command runs."""

    at_ms: int
    pid: int = 0
    """0: inside the executor."""
    started_ticks: int = 0


class Run(Protocol):
    """A command that was given a slot. Runs once."""

    def stop(self, order: StopOrder) -> None:
        """End it. May come at any time, also before `execute`; the first order counts."""
        ...

    def make_way(self) -> None:
        """There may be room for more output."""
        ...

    async def execute(self, on_started: Callable[[RunStarted], None]) -> Outcome:
        """To the end. Never raises for what a command can do."""
        ...


def result_message(
    key: CommandKey,
    outcome: Outcome,
    *,
    seq: int,
    now_ms: int,
    output: CommandOutput | None,
    traceparent: str,
) -> bytes:
    """The AgentMessage, serialised."""
    result = pb.Result(
        report_seq=seq,
        command_id=key.command_id,
        attempt=key.attempt,
        completed_at_ms=now_ms,
        started_at_ms=outcome.started_at_ms,
        end=outcome.end,
        reason=outcome.reason,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        result=outcome.result,
        error=_tellable(outcome.error),
        traceparent=traceparent,
    )
    if output is not None:
        result.stdout.CopyFrom(output.stdout.stream_end())
        result.stderr.CopyFrom(output.stderr.stream_end())
    return pb.AgentMessage(result=result).SerializeToString()


def _tellable(text: str) -> str:
    """As protobuf takes it, and as a frame has room for: a handler's error may hold anything, and any amount of it."""
    return text[:MAX_ERROR_CHARS].encode(errors="replace").decode()


def corrected(message: bytes, output: CommandOutput) -> bytes:
    """A Result that says what is really there of streams that lost their end on this machine."""
    told = pb.AgentMessage.FromString(message)
    for buffer, end in zip(output.buffers, (told.result.stdout, told.result.stderr), strict=True):
        if buffer.damaged:
            end.CopyFrom(buffer.stream_end())
    return told.SerializeToString()
