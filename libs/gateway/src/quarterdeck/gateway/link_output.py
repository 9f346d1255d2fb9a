"""The output of one link: chunks to their writers, acknowledgements back, results held until their output is stored.

Owns the commands that the link carries and the link's credit. Does not read or write the connection; called by the
native link for every Output and Result, and once at the end of each frame.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import structlog

from quarterdeck.contracts import subjects
from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.limits import STORED_CHUNK_BYTES
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.output import OutputStream
from quarterdeck.contracts.reports import StreamReport
from quarterdeck.core import metrics
from quarterdeck.gateway.link import LinkParts
from quarterdeck.gateway.link_command import LinkCommand, final_report
from quarterdeck.gateway.messages import possible_time_ms
from quarterdeck.gateway.send_queue import StreamKey
from quarterdeck.gateway.stream_writer import StreamWriter, WriterContext
from quarterdeck.wire.agent_v1 import agent_pb2 as pb

log = structlog.get_logger()

OVERSHOOT_BYTES: Final = 256 * 1024
"""An agent may finish the chunk it began, and may have sent before it heard of a smaller window."""

_STREAMS: Final = {pb.STDOUT: OutputStream.STDOUT, pb.STDERR: OutputStream.STDERR}


class OutputPorts(NamedTuple):
    """What the link does for its output."""

    ack: Callable[[StreamKey, int, bool], None]
    """(stream, stored offset, send again from there)"""
    grant: Callable[[int], None]
    """New window, in bytes."""
    result: Callable[[pb.Result, StreamReport, StreamReport], None]
    """The result, and what is stored of stdout and stderr: all output is stored."""


class LinkOutput:
    def __init__(
        self,
        tenant: str,
        context: WriterContext,
        ports: OutputPorts,
        parts: LinkParts,
        *,
        bounded: bool = True,
    ) -> None:
        """`bounded`: an agent that knows the window and sends more is refused. Others are read more slowly instead."""
        self._tenant = tenant
        self._context = context
        self._ports = ports
        self._credit = parts.credit
        self._progress = parts.progress
        self._bounded = bounded
        self._window_bytes = self._largest_window_bytes = 0
        self._commands: dict[tuple[str, int], LinkCommand] = {}
        self._touched: dict[StreamWriter, None] = {}
        self._held_bytes = 0
        self._streams = 0
        self._fenced = False

    @property
    def held_bytes(self) -> int:
        """What came and is not stored, of all commands."""
        return self._held_bytes

    def carry(self, command_id: str, attempt: int, batch_id: str | None) -> LinkCommand:
        """Reports and output of this attempt will come over this link."""
        key = (command_id, attempt)
        command = self._commands.get(key)
        if command is None:
            command = self._commands[key] = LinkCommand(command_id, attempt, batch_id)
        return command

    def find(self, command_id: str, attempt: int) -> LinkCommand | None:
        return self._commands.get((command_id, attempt))

    def forget(self, command_id: str, attempt: int) -> None:
        """Its end is stored and acknowledged."""
        command = self._commands.pop((command_id, attempt), None)
        if command is not None:
            self._release(command)

    def take(self, output: pb.Output) -> None:
        """One chunk. Raises LinkRefused: protocol for a chunk that no agent of ours sends, overflow past the window."""
        command = self._commands.get((output.command_id, output.attempt))
        if command is None:
            raise LinkRefused(LinkEnd.PROTOCOL, "output of a command that this link does not carry")
        chunk = output.chunk
        if not 0 < len(chunk) <= STORED_CHUNK_BYTES:
            raise LinkRefused(LinkEnd.PROTOCOL, f"an output chunk of {len(chunk)} bytes")
        end_offset = command.ends.get(output.stream)
        if end_offset is not None and output.offset + len(chunk) > end_offset:
            self._fence()
            return
        writer = self._writer(command, output.stream)
        writer.accept(output.offset, chunk, possible_time_ms(output.at_ms))
        self._touched[writer] = None
        self._count(writer)
        if self._bounded and self._held_bytes > self._largest_window_bytes + OVERSHOOT_BYTES:
            raise LinkRefused(
                LinkEnd.OVERFLOW, f"{self._held_bytes} bytes beyond a window of {self._window_bytes}"
            )

    def end_of_frame(self) -> None:
        """Publish what the frame brought."""
        touched, self._touched = self._touched, {}
        for writer in touched:
            writer.pump()
            self._answer(writer, stored=False)

    def finish(self, result: pb.Result) -> None:
        """The result goes on when all output before it is stored; other commands do not wait for it."""
        command = self._commands.get((result.command_id, result.attempt))
        if command is None:
            # Neither ordered here nor in the journal: its output cannot be looked up; the aggregator replays it.
            self._ports.result(result, final_report(result.stdout, None), final_report(result.stderr, None))
            return
        if command.ended:
            return
        command.result = result
        ends = {pb.STDOUT: result.stdout, pb.STDERR: result.stderr}
        # Without a digest the agent lost count, and there may be more.
        command.ends = {stream: end.length for stream, end in ends.items() if end.sha256}
        command.asked_again = False
        if not command.writers and result.stdout.length == 0 and result.stderr.length == 0:
            self._hand_on(command, result)
            return
        for end, stream in ((result.stdout, pb.STDOUT), (result.stderr, pb.STDERR)):
            if end.length and not self._writer(command, stream).known:
                self._writer(command, stream).look_up()
        self._settle(command)

    def open_window(self, window_bytes: int) -> None:
        """What the Welcome grants."""
        self._window_bytes = self._largest_window_bytes = window_bytes

    def grant(self, window_bytes: int) -> None:
        """The link's share of the gateway's memory changed."""
        if window_bytes != self._window_bytes:
            self._window_bytes = window_bytes
            self._largest_window_bytes = max(self._largest_window_bytes, window_bytes)
            self._ports.grant(window_bytes)

    def close(self) -> None:
        """The link ended. What is not stored is the agent's to send again."""
        for command in self._commands.values():
            self._release(command)
        self._commands.clear()
        self._touched.clear()
        self._credit.leave(self)

    def _writer(self, command: LinkCommand, stream: "pb.Stream.ValueType") -> StreamWriter:
        name = _STREAMS.get(stream)
        if name is None:
            raise LinkRefused(LinkEnd.PROTOCOL, "output of no stream")
        writer = command.stdout if name is OutputStream.STDOUT else command.stderr
        if writer is not None:
            return writer
        key = StreamKey(command.command_id, command.attempt, stream)
        subject = subjects.output(self._tenant, command.batch_id, command.command_id, command.attempt, name)

        def on_change(changed: StreamWriter) -> None:
            self._on_change(command, changed)

        writer = StreamWriter(self._context, subject, key, on_change)
        if name is OutputStream.STDOUT:
            command.stdout = writer
        else:
            command.stderr = writer
        self._streams += 1
        if self._streams == 1:
            self._credit.join(self)
        return writer

    def _on_change(self, command: LinkCommand, writer: StreamWriter) -> None:
        self._count(writer)
        self._answer(writer, stored=True)
        if command.result is None and not command.ended:
            self._progress.mark(self._tenant, self._context.agent_id, command)
        else:
            self._settle(command)

    def _answer(self, writer: StreamWriter, *, stored: bool) -> None:
        if stored or writer.ask_again:
            self._ports.ack(writer.key, writer.stored_offset, writer.ask_again)
            writer.ask_again = False

    def _settle(self, command: LinkCommand) -> None:
        """Hand the held result on, or see to it that its output comes."""
        result = command.result
        if result is None:
            return
        complete = True
        for end, writer in ((result.stdout, command.stdout), (result.stderr, command.stderr)):
            if end.length == 0:
                continue
            if writer is None or not writer.known:
                return
            if writer.stored_offset < end.length:
                complete = False
                if writer.end_offset < end.length and not command.asked_again:
                    command.asked_again = True
                    log.info(
                        "gateway.output_incomplete", subject=writer.subject, end_offset=writer.end_offset
                    )
                    self._ports.ack(writer.key, writer.stored_offset, True)
        if complete:
            self._hand_on(command, result)

    def _hand_on(self, command: LinkCommand, result: pb.Result) -> None:
        command.result, command.ended = None, True
        stdout, stderr = (
            final_report(result.stdout, command.stdout),
            final_report(result.stderr, command.stderr),
        )
        self._ports.result(result, stdout, stderr)

    def _fence(self) -> None:
        """More output than the result said there is: it is not stored. Counted; logged once per link."""
        metrics.FENCED_MESSAGES.labels("native").inc()
        if not self._fenced:
            self._fenced = True
            log.warning(
                "gateway.message_fenced",
                tenant=self._tenant,
                agent_id=self._context.agent_id,
                dialect="native",
                what="output after the result",
            )

    def _count(self, writer: StreamWriter) -> None:
        held_bytes = writer.held_bytes
        self._held_bytes += held_bytes - writer.counted_bytes
        writer.counted_bytes = held_bytes

    def _release(self, command: LinkCommand) -> None:
        for writer in command.writers:
            metrics.OUTPUT_BYTES.labels(_STREAMS[writer.key.stream]).inc(writer.stored_bytes)
            writer.close()
            self._touched.pop(writer, None)
            self._held_bytes -= writer.counted_bytes
            self._streams -= 1
        if self._streams == 0 and command.writers:
            self._credit.leave(self)
