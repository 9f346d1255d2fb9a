"""A link that speaks the native agent protocol, from the verified Hello to its end.

Owns one connection: reads its frames, writes what is queued, and ends with it. A crash in here ends this link alone
(S1-4). What frames cause is in `inbox`, what is queued in `send_queue`.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from quarterdeck.contracts import reports
from quarterdeck.contracts.limits import MAX_FRAME_BYTES
from quarterdeck.contracts.links import Epoch, LinkEnd
from quarterdeck.contracts.orders import GatewayOrder, OrderAnswer, TerminateItem
from quarterdeck.core import failpoints
from quarterdeck.gateway.connection import Connection
from quarterdeck.gateway.inbox import Inbox
from quarterdeck.gateway.link import LinkParts
from quarterdeck.gateway.link_output import LinkOutput, OutputPorts
from quarterdeck.gateway.messages import OrderSheet, goodbye, wire_epoch
from quarterdeck.gateway.opening import Opened, Opening
from quarterdeck.gateway.send_queue import QueuedOrder, SendQueue, StreamKey
from quarterdeck.gateway.stream_writer import WriterContext
from quarterdeck.wire.agent_v1 import agent_pb2 as pb

_ACK_DELAY_S: Final = 0.2
"""ReportAcks are in no hurry, and a frame costs more than what is in it: they go along with what comes next, or now."""
_WAITING_ACKS: Final = 256
"""So many do not wait: an agent keeps what is not acknowledged, and starts nothing new when it keeps too much."""


class NativeLink:
    dialect = "native"

    def __init__(self, parts: LinkParts, connection: Connection, opened: Opened) -> None:
        """Raises LinkRefused(protocol) when the Hello's journal is none."""
        record, hello = opened
        self.record = record
        self.tenant = tenant = record.tenant
        self.agent_id = record.agent_id
        self.highest_epoch = Epoch(hello.highest_epoch.incarnation, hello.highest_epoch.revision)
        self.epoch: Epoch | None = None
        self.since_ms = parts.clock.now_ms()
        self._parts = parts
        self._connection = connection
        self._queue = SendQueue(parts.settings)
        self._output = LinkOutput(
            tenant,
            WriterContext(parts.bus, self.agent_id, self._spawn),
            OutputPorts(self._ack_output, self._grant, self._report_result),
            parts,
        )
        self._inbox = Inbox(parts, self, self._output, self._queue)
        self._tasks: set[asyncio.Task[None]] = set()
        self._sender: asyncio.Task[None] | None = None
        self._sending_since_s: float | None = None
        self._ack_timer: asyncio.TimerHandle | None = None
        self._heard_s = parts.clock.monotonic_s()
        self._end: LinkEnd | None = None
        self._retired = False
        self._failure: BaseException | None = None
        self._inbox.remember(hello.journal)

    # ---- What the rest of the gateway calls ----

    def offer(self, sheet: OrderSheet, order: GatewayOrder) -> OrderAnswer:
        if self._end is not None or self._retired or (self.epoch is not None and order.epoch != self.epoch):
            return OrderAnswer.GONE
        if self._queue.holds_order(order):
            return OrderAnswer.WAITING
        if not self._queue.put_order(sheet, order):
            return OrderAnswer.BUSY
        self._output.carry(order.command_id, order.attempt, sheet.batch_id)
        self._wake()
        return OrderAnswer.QUEUED

    def terminate(self, item: TerminateItem) -> OrderAnswer:
        if self._end is not None or self._retired:
            return OrderAnswer.GONE
        terminate = pb.Terminate(command_id=item.command_id, attempt=item.attempt, grace_ms=item.grace_ms)
        self._queue.put(pb.GatewayMessage(terminate=terminate))
        self._wake()
        return OrderAnswer.QUEUED

    def drain(self, within_ms: int) -> None:
        self._queue.put(pb.GatewayMessage(drain=pb.Drain(within_ms=within_ms)))
        self._wake()

    def end(self, reason: LinkEnd) -> None:
        if self._end is None and not self._retired:
            self._end = reason
            self._queue.put(goodbye(reason))
            self._wake()
            self._spawn(self._close_after_goodbye(), "link_goodbye")

    def check_silence(self) -> None:
        now_s = self._parts.clock.monotonic_s()
        stuck = (
            self._sending_since_s is not None
            and now_s - self._sending_since_s > self._parts.settings.silence_s
        )
        # A link that nobody reads because the bus is behind is not silent: it is not listened to.
        silent = now_s - self._heard_s > self._parts.settings.silence_s and not self._parts.reports.full
        if stuck or silent:
            self._parts.metrics.timeouts.inc()
            self.end(LinkEnd.SILENT)

    def welcome(self, epoch: Epoch, window_bytes: int) -> None:
        """The link's record is stored: orders go out from now on. Earlier ones, meant for another epoch, go back."""
        self.epoch = epoch
        self._output.open_window(window_bytes)
        welcome = pb.Welcome(
            epoch=wire_epoch(epoch),
            heartbeat_interval_ms=self._parts.settings.heartbeat_interval_ms,
            max_frame_bytes=MAX_FRAME_BYTES,
            window_bytes=window_bytes,
            server_time_ms=self._parts.clock.now_ms(),
            tenant=self.tenant,
        )
        self._queue.put(pb.GatewayMessage(welcome=welcome))
        early = self._queue.take_unwritten()
        for queued in early:
            if queued.order.epoch == epoch:
                self._queue.put_order(queued.sheet, queued.order)
            else:
                self._return(queued)
        self._wake()

    async def run(self) -> LinkEnd:
        """Serve the link until it ends; why it did. Raises what broke it: ConnectionLost, LinkRefused, or a crash."""
        connection, pending = self._connection, self._parts.reports
        while not self._inbox.agent_left and (raw := await connection.receive()) is not None:
            self._heard_s = self._parts.clock.monotonic_s()
            self._inbox.take_frame(raw)
            self._wake()
            if pending.full:
                await pending.room()
        if self._failure is not None:
            raise self._failure
        return self._end or LinkEnd.CLOSED

    def retire(self) -> None:
        """The link is over: give back the orders that were never written, let go of everything. Waits for nothing."""
        self._retired = True
        for task in self._tasks:
            task.cancel()
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        self._output.close()
        for queued in self._queue.take_unwritten():
            self._return(queued)

    async def settle(self) -> None:
        """An agent of ours says again what is not acknowledged."""

    async def last_words(self, reason: str, text: str) -> None:
        """Raises ConnectionLost."""
        await _say_goodbye(self._connection, reason, text)

    def reported(self, report_seqs: list[int]) -> None:
        """The bus has these reports: tell the agent, and forget the commands that ended."""
        self._inbox.reported(report_seqs)
        if not self._retired:
            self._queue.ack_reports(report_seqs)
            if self._queue.waiting_report_acks >= _WAITING_ACKS:
                self._wake()
            elif self._sender is None and self._ack_timer is None:
                self._ack_timer = asyncio.get_running_loop().call_later(_ACK_DELAY_S, self._wake)

    # ---- To the agent ----

    def _report_result(
        self, result: pb.Result, stdout: reports.StreamReport, stderr: reports.StreamReport
    ) -> None:
        self._inbox.report_result(result, stdout, stderr)

    def _ack_output(self, key: StreamKey, offset: int, resend: bool) -> None:
        self._queue.ack_output(key, offset, resend=resend)
        self._wake()

    def _grant(self, window_bytes: int) -> None:
        self._queue.put(pb.GatewayMessage(credit=pb.Credit(window_bytes=window_bytes)))
        self._wake()

    def _return(self, queued: QueuedOrder) -> None:
        order = queued.order
        returned = reports.Returned(
            command_id=order.command_id,
            attempt=order.attempt,
            agent_id=self.agent_id,
            at_ms=self._parts.clock.now_ms(),
            handover=queued.sheet.handover,
        )
        self._parts.reports.add(self.tenant, returned)

    def _wake(self) -> None:
        """Send what is queued by the end of this turn of the loop, in as few frames as possible."""
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        if self._sender is None and self._queue and not self._retired:
            self._sender = self._spawn(self._send(), "link_sender")

    async def _send(self) -> None:
        monotonic_s = self._parts.clock.monotonic_s
        while True:
            packed = self._queue.pack(with_orders=self.epoch is not None and self._end is None)
            if packed is None:
                break
            self._sending_since_s = monotonic_s()
            for queued in packed.orders:
                command = self._output.find(queued.order.command_id, queued.order.attempt)
                if command is not None:
                    command.written_at_s = self._sending_since_s
            await self._connection.send(packed.frame)
            if packed.orders:
                failpoints.reach("gateway.after_write")
        self._sending_since_s = None
        self._sender = None

    async def _close_after_goodbye(self) -> None:
        sender = self._sender
        if sender is not None:
            await asyncio.wait({sender}, timeout=self._parts.settings.goodbye_timeout_s)
        await self._connection.close(self._end or LinkEnd.CLOSED)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task of this link: its crash is the link's."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None and self._failure is None:
            self._failure = failure
            if not self._retired:
                self._spawn(self._connection.close(LinkEnd.CLOSED), "link_close")


class NativeReception:
    """Connections of agents of ours."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    async def open(self, connection: Connection, parts: LinkParts) -> NativeLink:
        """Raises LinkRefused, ConnectionLost, DecodeError, Unavailable."""
        return NativeLink(parts, connection, await self._opening.run(connection))

    async def refuse(self, connection: Connection, reason: str, text: str) -> None:
        """Raises ConnectionLost."""
        await _say_goodbye(connection, reason, text)


async def _say_goodbye(connection: Connection, reason: str, text: str) -> None:
    frame = pb.GatewayFrame(messages=[goodbye(reason, text)])
    await connection.send(frame.SerializeToString())
