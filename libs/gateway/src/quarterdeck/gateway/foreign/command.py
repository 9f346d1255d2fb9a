"""One command on a foreign link: what an executor of ours would keep in its journal and its buffers.

Owns the phase, and for each stream how much came and its digest. Pure. Called by `foreign.link`, read by dialects.
"""

import hashlib
from enum import IntEnum
from typing import Final

from quarterdeck.contracts.orders import GatewayOrder
from quarterdeck.contracts.output import OutputStream
from quarterdeck.contracts.states import CommandState
from quarterdeck.gateway.foreign.deadlines import Deadlines
from quarterdeck.gateway.send_queue import QueuedOrder
from quarterdeck.wire.agent_v1 import agent_pb2 as pb

_ENDS: Final = {
    CommandState.SUCCEEDED: pb.SUCCEEDED,
    CommandState.FAILED: pb.FAILED,
    CommandState.TIMED_OUT: pb.TIMED_OUT,
    CommandState.TERMINATED: pb.TERMINATED,
    CommandState.OUTCOME_UNKNOWN: pb.OUTCOME_UNKNOWN,
}


class Phase(IntEnum):
    """In the order in which they come; some may be skipped."""

    WAITING = 0
    """Not written: it can still be given back."""
    WRITTEN = 1
    ACCEPTED = 2
    STARTED = 3
    ENDED = 4


class ForeignStream:
    """What came of stdout or stderr."""

    __slots__ = ("length", "limit_bytes", "sha256", "truncated_bytes")

    def __init__(self, limit_bytes: int) -> None:
        """`limit_bytes`: what is kept from the start of the stream; 0: all."""
        self.limit_bytes = limit_bytes
        self.length = 0
        self.truncated_bytes = 0
        self.sha256 = hashlib.sha256()

    def take(self, chunk: bytes) -> bytes:
        """What of `chunk` is kept; the rest is counted."""
        kept = chunk[: max(0, self.limit_bytes - self.length)] if self.limit_bytes else chunk
        self.truncated_bytes += len(chunk) - len(kept)
        self.length += len(kept)
        self.sha256.update(kept)
        return kept

    def end(self) -> pb.StreamEnd:
        return pb.StreamEnd(
            length=self.length, sha256=self.sha256.digest(), truncated_bytes=self.truncated_bytes
        )


class ForeignCommand:
    """From the order to the stored result. Dialects read it; only the link changes it."""

    __slots__ = (
        "deadlines", "order", "phase", "queued", "report_seq", "spec", "started_at_ms", "stop", "stop_asked",
        "stop_reason", "streams", "wire_id", "written_at_s",
    )  # fmt: skip

    def __init__(self, queued: QueuedOrder, spec: pb.CommandSpec, report_seq: int) -> None:
        self.queued = queued
        self.order: GatewayOrder = queued.order
        self.spec = spec
        self.report_seq = report_seq
        """Of its end: names it to the reports."""
        self.phase = Phase.WAITING
        self.wire_id: object = None
        """The dialect's own name for it, such as a request number. The dialect's to set."""
        self.started_at_ms: int | None = None
        self.written_at_s: float | None = None
        """Until the agent answered."""
        self.stop: CommandState | None = None
        """TERMINATED or TIMED_OUT, once its end is wanted."""
        self.stop_reason = ""
        """Which limit it was over, where that is why."""
        self.stop_asked = False
        """The agent was asked for it."""
        self.deadlines: Deadlines | None = None
        limit_bytes = spec.max_output_bytes
        self.streams = {stream: ForeignStream(limit_bytes) for stream in OutputStream}

    @property
    def command_id(self) -> str:
        return self.order.command_id

    @property
    def attempt(self) -> int:
        return self.order.attempt

    @property
    def timeout_ms(self) -> int:
        """From the moment it is written: the gateway keeps it, whether the agent does or not. 0: none."""
        return self.order.timeout_ms

    @property
    def key(self) -> tuple[str, int]:
        return self.order.command_id, self.order.attempt

    def result(
        self,
        end: CommandState,
        *,
        at_ms: int,
        reason: str = "",
        error: str = "",
        exit_code: int | None = None,
        result: bytes = b"",
    ) -> pb.Result:
        """Its end, as an agent of ours would say it."""
        return pb.Result(
            report_seq=self.report_seq,
            command_id=self.command_id,
            attempt=self.attempt,
            completed_at_ms=at_ms,
            started_at_ms=self.started_at_ms or 0,
            end=_ENDS[end],
            reason=reason,
            exit_code=exit_code,
            result=result,
            error=error,
            stdout=self.streams[OutputStream.STDOUT].end(),
            stderr=self.streams[OutputStream.STDERR].end(),
            traceparent=self.queued.sheet.traceparent,
        )
