"""What goes to the gateway next. The one place where reports and output of all commands meet.

A frame is put together when the link is ready for it, from whatever waits then: control and reports first, then output
of the commands in turn, as far as the link's window allows. A result waits for the last byte of its command's output.
Nothing is lost with a link: unacknowledged reports and output are queued again for the next one.
"""

import asyncio
from collections import deque
from typing import Final

from quarterdeck.agent.executor.journal.entries import Report
from quarterdeck.agent.executor.outcome import corrected
from quarterdeck.agent.executor.streams import CommandOutput, OutputBuffer
from quarterdeck.contracts.limits import OUTPUT_CHUNK_BYTES
from quarterdeck.core.clock import Clock
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.packer import PACKED_FRAME_BYTES, FramePacker, Lane, join_messages

COALESCE_S: Final = 0.02
"""Output that follows other output this closely waits for company. The first bytes after a pause never wait."""

_STUCK_S: Final = 1.0
"""Output that nobody acknowledges for this long is not flowing: the link is dead, the bus away, or the window shut."""

_QUEUE_LIMIT_BYTES: Final = 256 * 1024 * 1024
"""Reports of one link that wait. The executor's own bounds keep far below it; this one catches mistakes."""


class _Source:
    """One stream that has output, or will have."""

    __slots__ = ("buffer", "in_flight_bytes", "last_sent_s", "memory_bytes", "output", "queued", "timer")

    def __init__(self, output: CommandOutput, buffer: OutputBuffer) -> None:
        self.output = output
        self.buffer = buffer
        self.queued = False
        self.last_sent_s = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.in_flight_bytes = 0
        self.memory_bytes = 0
        """What of the buffer is in the outlet's sums."""


class Outlet:
    """Frames out. `next_frame` is called by one task; everything else by the executor."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._packer = FramePacker(limit_bytes=_QUEUE_LIMIT_BYTES)
        self._sources: dict[OutputBuffer, _Source] = {}
        self._ready: deque[_Source] = deque()
        self._held: dict[CommandOutput, Report] = {}
        """Results whose output is not all on its way."""
        self._unacknowledged: dict[int, Report] = {}
        self._sent_at_s: dict[int, float] = {}
        self._standing = False
        self._window_bytes = 0
        self._in_flight_bytes = 0
        self._flowed_s = clock.monotonic_s()
        """When output was last acknowledged, or had nothing to wait for."""
        self._wake = asyncio.Event()
        self.retained_bytes = 0
        """Unacknowledged output of all commands, as far as it is in memory."""
        self.reports_bytes = 0
        """Unacknowledged reports, with the results in them."""

    @property
    def stuck(self) -> bool:
        """Whether output waits that nobody has acknowledged for a while."""
        return self.retained_bytes > 0 and self._clock.monotonic_s() - self._flowed_s > _STUCK_S

    @property
    def standing(self) -> bool:
        """Whether the last link that was opened got its Welcome. It may have ended since."""
        return self._standing

    # ---- The link

    def open_link(self, hello: bytes) -> None:
        """A new link is being opened: forget what was on its way, and say `hello` (AgentMessage) first."""
        self._standing = False
        self._packer.clear()
        self._ready.clear()
        self._held.clear()
        for source in self._sources.values():
            source.queued = False
            source.buffer.rewind()
            self._count(source)
        self.say(hello)

    def start(self, window_bytes: int) -> None:
        """The link stands: repeat what is unacknowledged, and go on."""
        self._standing = True
        self._window_bytes = window_bytes
        self._flowed_s = self._clock.monotonic_s()
        for source in self._sources.values():
            self._queue(source)
        for report in list(self._unacknowledged.values()):
            self._send(report)

    def set_window(self, window_bytes: int) -> None:
        self._window_bytes = window_bytes
        self._wake.set()

    # ---- Reports

    @property
    def unacknowledged_reports(self) -> int:
        return len(self._unacknowledged)

    def say(self, message: bytes) -> None:
        """A message of this link alone (AgentMessage, serialised): never repeated."""
        self._packer.put(message, Lane.CONTROL)
        self._wake.set()

    def report(self, report: Report) -> None:
        """Send until acknowledged. Also the way to say it once more."""
        if report.seq not in self._unacknowledged:
            self.reports_bytes += len(report.message)
        self._unacknowledged[report.seq] = report
        if self._standing:
            self._send(report)

    def acknowledge_report(self, seq: int) -> Report | None:
        """The gateway has it. None when it had said so before."""
        self._sent_at_s.pop(seq, None)
        report = self._unacknowledged.pop(seq, None)
        if report is not None:
            self.reports_bytes -= len(report.message)
        return report

    def repeat_overdue(self, older_than_s: float) -> None:
        """Send again what was sent that long ago and is still not acknowledged."""
        if not self._standing:
            return
        due_s = self._clock.monotonic_s() - older_than_s
        for seq, sent_at_s in list(self._sent_at_s.items()):
            if sent_at_s < due_s:
                self._send(self._unacknowledged[seq])

    def _send(self, report: Report) -> None:
        if report.output is not None and not report.output.all_sent:
            self._held[report.output] = report
            return
        self._packer.put(_as_it_is(report), Lane.REPORT)
        self._sent_at_s[report.seq] = self._clock.monotonic_s()
        self._wake.set()

    # ---- Output

    def add(self, output: CommandOutput) -> None:
        """From now on `output` may have something to send."""
        for buffer in output.buffers:
            source = self._sources[buffer] = _Source(output, buffer)
            self._count(source)

    def remove(self, output: CommandOutput) -> None:
        """Its end is acknowledged, so nobody needs its output any more."""
        self._held.pop(output, None)
        for buffer in output.buffers:
            buffer.discard()
            source = self._sources.pop(buffer, None)
            if source is not None:
                self._cancel_timer(source)
                self._count(source)
        self._wake.set()

    def appended(self, buffer: OutputBuffer) -> None:
        """`buffer` has more. Sent at once after a pause or when a chunk is full, else within COALESCE_S."""
        source = self._sources.get(buffer)
        if source is None:
            return
        if self.retained_bytes == 0:
            self._flowed_s = self._clock.monotonic_s()
        self._count(source)
        if source.queued or not self._standing:
            return
        pause_s = self._clock.monotonic_s() - source.last_sent_s
        if buffer.unsent_bytes >= OUTPUT_CHUNK_BYTES or pause_s >= COALESCE_S:
            self._queue(source)
        elif source.timer is None:
            loop = asyncio.get_running_loop()
            source.timer = loop.call_later(COALESCE_S - pause_s, self._queue, source)

    def flush(self, output: CommandOutput) -> None:
        """No more will come: send the rest now."""
        if self._standing:
            for buffer in output.buffers:
                self._queue(self._sources[buffer])

    def acknowledge_output(self, buffer: OutputBuffer, offset: int, *, resend: bool = False) -> None:
        """The store has everything below `offset`; with `resend`, what was sent beyond it got lost."""
        source = self._sources.get(buffer)
        if source is None:
            return
        acked = buffer.acked
        buffer.acknowledge(offset)
        if buffer.acked > acked:
            self._flowed_s = self._clock.monotonic_s()
        if resend:
            buffer.rewind()
        self._count(source)
        # It may have brought something back from the disk, or shown that there is nothing more.
        if source.timer is None or resend:
            self._queue(source)
        self._release(source.output)
        self._wake.set()

    def _count(self, source: _Source) -> None:
        in_flight_bytes, memory_bytes = source.buffer.in_flight_bytes, source.buffer.memory_bytes
        self._in_flight_bytes += in_flight_bytes - source.in_flight_bytes
        self.retained_bytes += memory_bytes - source.memory_bytes
        source.in_flight_bytes, source.memory_bytes = in_flight_bytes, memory_bytes

    def _release(self, output: CommandOutput) -> None:
        """The result, if it only waited for output that will never come, or that the store turns out to have."""
        if output.all_sent and (report := self._held.pop(output, None)):
            self._send(report)

    def _queue(self, source: _Source) -> None:
        self._cancel_timer(source)
        if not source.queued and source.buffer.ready_bytes and self._standing:
            source.queued = True
            self._ready.append(source)
            self._wake.set()

    def _cancel_timer(self, source: _Source) -> None:
        if source.timer is not None:
            source.timer.cancel()
            source.timer = None

    # ---- Frames

    async def next_frame(self) -> bytes:
        """The next AgentFrame, serialised, as soon as there is anything for it."""
        while True:
            messages = self._packer.take_messages()
            room_bytes = PACKED_FRAME_BYTES - sum(map(len, messages))
            if self._standing:
                self._take_output(messages, room_bytes)
            if messages:
                return join_messages(messages)
            self._wake.clear()
            await self._wake.wait()

    def _take_output(self, messages: list[bytes], room_bytes: int) -> None:
        while self._ready and room_bytes >= OUTPUT_CHUNK_BYTES // 2:
            window_bytes = self._window_bytes - self._in_flight_bytes
            source = self._ready[0]
            # No crumbs: what does not fit waits for the next acknowledgement, unless none is due.
            wanted_bytes = min(OUTPUT_CHUNK_BYTES, source.buffer.ready_bytes)
            if window_bytes <= 0 or (window_bytes < wanted_bytes and self._in_flight_bytes):
                return
            self._ready.popleft()
            source.queued = False
            chunk = source.buffer.take(min(OUTPUT_CHUNK_BYTES, room_bytes, window_bytes))
            if not chunk.content:
                continue
            source.last_sent_s = self._clock.monotonic_s()
            self._count(source)
            room_bytes -= len(chunk.content)
            messages.append(_output_message(source, chunk.offset, chunk.content, chunk.at_ms))
            if source.buffer.ready_bytes:
                self._queue(source)
            elif source.output.all_sent and (report := self._held.pop(source.output, None)):
                messages.append(_as_it_is(report))
                self._sent_at_s[report.seq] = source.last_sent_s


def _as_it_is(report: Report) -> bytes:
    """The message, put right when output was lost after it was written."""
    output = report.output
    return report.message if output is None or not output.damaged else corrected(report.message, output)


def _output_message(source: _Source, offset: int, content: bytes, at_ms: int) -> bytes:
    output = source.output
    message = pb.AgentMessage(
        output=pb.Output(
            command_id=output.command_id,
            attempt=output.attempt,
            stream=source.buffer.stream,
            offset=offset,
            chunk=content,
            at_ms=at_ms,
        )
    )
    return message.SerializeToString()
