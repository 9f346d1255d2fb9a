"""What a foreign agent said of its commands, turned into what the rest of the plane understands: output and reports.

Owns the commands of one link that were written, and their ends. Knows neither the wire nor the queue of
orders. It outlives the connection until everything that was said is stored: nobody could say it again.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import structlog

from quarterdeck.contracts import reports
from quarterdeck.contracts.limits import STORED_CHUNK_BYTES
from quarterdeck.contracts.output import OutputStream
from quarterdeck.contracts.states import CommandState
from quarterdeck.core import metrics
from quarterdeck.gateway.foreign.command import ForeignCommand, Phase
from quarterdeck.gateway.foreign.deadlines import Deadlines
from quarterdeck.gateway.foreign.ends import Ends, Who
from quarterdeck.gateway.link import LinkParts
from quarterdeck.gateway.link_output import LinkOutput, OutputPorts
from quarterdeck.gateway.send_queue import StreamKey
from quarterdeck.gateway.stream_writer import WriterContext
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import RejectReason, ResultReason

log = structlog.get_logger()

_LOGGED_HEARTBEAT: Final = 20
"""Every 20th is logged. Source: S1-13."""
_STREAMS: Final = {OutputStream.STDOUT: pb.STDOUT, OutputStream.STDERR: pb.STDERR}


class ForeignDesk:
    """A `Desk` (see dialect). `stop(command)`: ask the agent for its end; `freed()`: a command ended."""

    def __init__(
        self,
        who: Who,
        parts: LinkParts,
        spawn: Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"],
        *,
        stop: Callable[[ForeignCommand], None],
        freed: Callable[[], None],
    ) -> None:
        self._who = who
        self._parts = parts
        self._stop = stop
        self._freed = freed
        self._ends = Ends(who, parts, self._forget)
        self._output = LinkOutput(
            who.tenant,
            WriterContext(parts.bus, who.agent_id, spawn),
            OutputPorts(self._on_stored, lambda window_bytes: None, self._ends.publish),
            parts,
            bounded=False,
        )
        self._output.open_window(parts.settings.window_bytes)
        self._commands: dict[tuple[str, int], ForeignCommand] = {}
        """Written, or ended and not yet with the reports."""
        self._by_id: dict[str, ForeignCommand] = {}
        self._fenced: set[str] = set()
        self._heartbeats = 0
        self._room = asyncio.Event()
        self._room.set()

    # ---- What the link does with commands

    @property
    def running(self) -> int:
        return len(self._by_id)

    def running_by_type(self) -> Counter[str]:
        return Counter(command.spec.command_type for command in self._by_id.values())

    def holds(self, key: tuple[str, int]) -> bool:
        return key in self._commands

    def command(self, key: tuple[str, int]) -> ForeignCommand | None:
        return self._commands.get(key)

    def written(self, command: ForeignCommand) -> None:
        """It is about to be written: from now on only the agent, or the end of the link, ends it."""
        command.phase = Phase.WRITTEN
        command.written_at_s = self._parts.clock.monotonic_s()
        self._commands[command.key] = self._by_id[command.command_id] = command
        self._output.carry(command.command_id, command.attempt, command.queued.sheet.batch_id)
        command.deadlines = Deadlines(
            command.timeout_ms,
            command.spec.no_output_timeout_ms,
            due=partial(self._timed_out, command),
            held_back=lambda: not self._room.is_set(),
        )

    def rejected(self, command: ForeignCommand, reason: RejectReason, text: str) -> None:
        """The plane hears that it will not run; nothing was written."""
        rejected = reports.Rejected(
            command_id=command.command_id,
            attempt=command.attempt,
            agent_id=self._who.agent_id,
            at_ms=self._parts.clock.now_ms(),
            reason=reason,
            error=text,
        )
        self._parts.reports.add(self._who.tenant, rejected)

    def unwritten(
        self, command: ForeignCommand, end: CommandState, *, reason: str = "", error: str = ""
    ) -> None:
        """It ends without ever having been written."""
        self._end(command, end, reason=reason, error=error)

    def close(self, error: str) -> None:
        """The connection is over: what ran on it has no known outcome."""
        for command in list(self._by_id.values()):
            self.finished(command, CommandState.OUTCOME_UNKNOWN, reason=ResultReason.LINK_LOST, error=error)
        self._room.set()

    async def settle(self) -> None:
        """Returns when all that was said is with the reports and the feed."""
        await self._ends.settled()
        self._output.close()

    # ---- Desk

    def find(self, command_id: str) -> ForeignCommand | None:
        return self._by_id.get(command_id)

    def accepted(self, command: ForeignCommand) -> None:
        if command.phase is not Phase.WRITTEN:
            return
        command.phase = Phase.ACCEPTED
        self._note_response(command)
        self._tell(command, reports.Accepted)

    def started(self, command: ForeignCommand) -> None:
        if not Phase.WRITTEN <= command.phase < Phase.STARTED:
            return
        self.accepted(command)
        command.phase = Phase.STARTED
        command.started_at_ms = self._parts.clock.now_ms()
        self._tell(command, reports.Started)

    def output(
        self, command: ForeignCommand, stream: OutputStream, chunk: bytes, at_ms: int | None = None
    ) -> None:
        if command.phase is Phase.ENDED:
            self.fenced("output after the result")
            return
        self.started(command)
        if command.deadlines is not None:
            command.deadlines.heard()
        offset = command.streams[stream].length
        kept = command.streams[stream].take(chunk)
        for start in range(0, len(kept), STORED_CHUNK_BYTES):
            self._output.take(
                pb.Output(
                    command_id=command.command_id,
                    attempt=command.attempt,
                    stream=_STREAMS[stream],
                    offset=offset + start,
                    chunk=kept[start : start + STORED_CHUNK_BYTES],
                    at_ms=self._parts.clock.now_ms() if at_ms is None else at_ms,
                )
            )
        self._output.end_of_frame()
        if self._output.held_bytes >= self._parts.settings.window_bytes:
            self._room.clear()

    async def room(self) -> None:
        await self._room.wait()
        if self._parts.reports.full:
            await self._parts.reports.room()

    def finished(
        self,
        command: ForeignCommand,
        end: CommandState,
        *,
        reason: str = "",
        error: str = "",
        exit_code: int | None = None,
        result: bytes = b"",
    ) -> None:
        if command.phase is Phase.ENDED:
            self.fenced("a second result")
            return
        self._note_response(command)
        if command.stop is not None and end in {CommandState.FAILED, CommandState.TERMINATED}:
            end = command.stop
            reason = reason or command.stop_reason
        self._end(command, end, reason=reason, error=error, exit_code=exit_code, result=result)

    def terminate_acked(self, command: ForeignCommand) -> None:
        self._tell(command, reports.TerminateAcked)

    def abandon(self, command: ForeignCommand, text: str) -> None:
        end = command.stop or CommandState.TERMINATED
        self.finished(command, end, reason=ResultReason.MAY_STILL_RUN, error=text)

    def fenced(self, what: str) -> None:
        metrics.FENCED_MESSAGES.labels(self._who.dialect).inc()
        if what not in self._fenced:
            self._fenced.add(what)
            log.warning(
                "gateway.message_fenced",
                tenant=self._who.tenant,
                agent_id=self._who.agent_id,
                dialect=self._who.dialect,
                what=what,
            )

    def heartbeat(self) -> None:
        self._heartbeats += 1
        self._parts.metrics.heartbeats.inc()
        if self._heartbeats % _LOGGED_HEARTBEAT == 0:
            log.info(
                "gateway.heartbeats_received",
                tenant=self._who.tenant,
                agent_id=self._who.agent_id,
                count=self._heartbeats,
            )

    # ---- Reports

    def _tell(
        self,
        command: ForeignCommand,
        kind: type[reports.Accepted] | type[reports.Started] | type[reports.TerminateAcked],
    ) -> None:
        report = kind(
            command_id=command.command_id,
            attempt=command.attempt,
            agent_id=self._who.agent_id,
            at_ms=self._parts.clock.now_ms(),
        )
        self._parts.reports.add(self._who.tenant, report, traceparent=command.queued.sheet.traceparent)

    def _end(
        self,
        command: ForeignCommand,
        end: CommandState,
        *,
        reason: str,
        error: str,
        exit_code: int | None = None,
        result: bytes = b"",
    ) -> None:
        if command.deadlines is not None:
            command.deadlines.cancel()
        command.phase = Phase.ENDED
        self._commands[command.key] = command
        self._by_id.pop(command.command_id, None)
        self._output.carry(command.command_id, command.attempt, command.queued.sheet.batch_id)
        at_ms = self._parts.clock.now_ms()
        message = command.result(
            end, at_ms=at_ms, reason=reason, error=error, exit_code=exit_code, result=result
        )
        self._ends.expect(command)
        self._output.finish(message)
        self._freed()

    def _forget(self, command: ForeignCommand) -> None:
        self._commands.pop(command.key, None)
        self._output.forget(command.command_id, command.attempt)

    def _on_stored(self, key: StreamKey, offset: int, resend: bool) -> None:
        if self._output.held_bytes < self._parts.settings.window_bytes:
            self._room.set()

    def _note_response(self, command: ForeignCommand) -> None:
        if command.written_at_s is not None:
            self._parts.metrics.response_s.observe(self._parts.clock.monotonic_s() - command.written_at_s)
            command.written_at_s = None

    def _timed_out(self, command: ForeignCommand, reason: ResultReason) -> None:
        if command.stop is None:
            command.stop, command.stop_reason = CommandState.TIMED_OUT, reason
        self._stop(command)
