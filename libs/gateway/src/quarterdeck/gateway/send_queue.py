"""What waits to be written to one link: acknowledgements and control first, then orders by priority. Does no I/O.

A frame takes whatever is queued, up to PACKED_FRAME_BYTES. Acknowledgements are kept as the newest value per stream, so
a peer that does not read costs no more memory the longer it does not. Called by the native link.
"""

import heapq
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from quarterdeck.contracts.orders import GatewayOrder
from quarterdeck.gateway.messages import OrderSheet, order_message
from quarterdeck.gateway.settings import GatewaySettings
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.packer import PACKED_FRAME_BYTES, join_messages

_ORDER_OVERHEAD_BYTES: Final = 256
"""Upper bound of an Order without its spec: two ids, numbers, trace context."""


class QueuedOrder(NamedTuple):
    """Sorts by priority, 10 first, then by arrival."""

    rank: tuple[int, int]
    sheet: OrderSheet
    order: GatewayOrder

    @property
    def size_bytes(self) -> int:
        return len(self.sheet.spec) + _ORDER_OVERHEAD_BYTES


class Packed(NamedTuple):
    """One frame, and the orders that are in it."""

    frame: bytes
    orders: list[QueuedOrder]


class StreamKey(NamedTuple):
    command_id: str
    attempt: int
    stream: "pb.Stream.ValueType"


class SendQueue:
    def __init__(self, settings: GatewaySettings) -> None:
        self._limit_orders = settings.queued_orders
        self._limit_order_bytes = settings.queued_order_bytes
        self._control: deque[bytes] = deque()
        self._heartbeat_ack = b""
        self._report_seqs: list[int] = []
        self._output_acks: dict[StreamKey, tuple[int, bool]] = {}
        self._orders: list[QueuedOrder] = []
        self._order_keys: set[tuple[str, int]] = set()
        self._order_bytes = 0
        self._arrivals = 0

    def __bool__(self) -> bool:
        return bool(
            self._control or self._heartbeat_ack or self._report_seqs or self._output_acks or self._orders
        )

    @property
    def waiting_report_acks(self) -> int:
        return len(self._report_seqs)

    def put(self, message: pb.GatewayMessage) -> None:
        """Control: goes before all orders."""
        self._control.append(message.SerializeToString())

    def ack_heartbeat(self, ack: pb.HeartbeatAck) -> None:
        """Only the newest is kept: it says all that those before it would."""
        self._heartbeat_ack = pb.GatewayMessage(heartbeat_ack=ack).SerializeToString()

    def ack_reports(self, report_seqs: Iterable[int]) -> None:
        self._report_seqs.extend(report_seqs)

    def ack_output(self, key: StreamKey, offset: int, *, resend: bool = False) -> None:
        """Cumulative, so only the newest offset of a stream is kept; a wish to have it again is not forgotten."""
        earlier = self._output_acks.get(key)
        self._output_acks[key] = (offset, resend or (earlier is not None and earlier[1]))

    def holds_order(self, order: GatewayOrder) -> bool:
        """Whether this attempt waits here already: it must not be put again."""
        return (order.command_id, order.attempt) in self._order_keys

    def put_order(self, sheet: OrderSheet, order: GatewayOrder) -> bool:
        """False: the queue is full and nothing was taken."""
        key = (order.command_id, order.attempt)
        size_bytes = len(sheet.spec) + _ORDER_OVERHEAD_BYTES
        over = self._order_bytes + size_bytes > self._limit_order_bytes and self._orders
        if over or len(self._orders) >= self._limit_orders:
            return False
        self._arrivals += 1
        heapq.heappush(self._orders, QueuedOrder((-sheet.priority, self._arrivals), sheet, order))
        self._order_keys.add(key)
        self._order_bytes += size_bytes
        return True

    def pack(self, *, with_orders: bool) -> Packed | None:
        """The next frame, or None when there is nothing to send (orders are held back until the link is welcomed)."""
        messages: list[bytes] = []
        room_bytes = PACKED_FRAME_BYTES
        while self._control and room_bytes > 0:
            messages.append(self._control.popleft())
            room_bytes -= len(messages[-1])
        if self._heartbeat_ack:
            messages.append(self._heartbeat_ack)
            self._heartbeat_ack = b""
        if self._report_seqs:
            ack = pb.GatewayMessage(report_ack=pb.ReportAck(report_seq=self._report_seqs))
            messages.append(ack.SerializeToString())
            self._report_seqs.clear()
        for key, (offset, resend) in self._output_acks.items():
            messages.append(_output_ack(key, offset, resend))
        self._output_acks.clear()
        orders: list[QueuedOrder] = []
        while with_orders and self._orders and (room_bytes > 0 or not messages):
            queued = heapq.heappop(self._orders)
            self._order_keys.discard((queued.order.command_id, queued.order.attempt))
            self._order_bytes -= queued.size_bytes
            orders.append(queued)
            messages.append(order_message(queued.sheet, queued.order))
            room_bytes -= len(messages[-1])
        return Packed(join_messages(messages), orders) if messages else None

    def take_unwritten(self) -> list[QueuedOrder]:
        """Empties the order queue: what comes back was never written to the link."""
        unwritten = sorted(self._orders)
        self._orders.clear()
        self._order_keys.clear()
        self._order_bytes = 0
        return unwritten


def _output_ack(key: StreamKey, offset: int, resend: bool) -> bytes:
    ack = pb.OutputAck(
        command_id=key.command_id,
        attempt=key.attempt,
        stream=key.stream,
        offset=offset,
        resend=resend,
    )
    return pb.GatewayMessage(output_ack=ack).SerializeToString()
