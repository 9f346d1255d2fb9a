"""What goes to an agent first, and what is kept while it does not read."""

from typing import Any

from quarterdeck.contracts.links import Carrier, Epoch
from quarterdeck.contracts.orders import GatewayOrder
from quarterdeck.gateway.messages import OrderSheet
from quarterdeck.gateway.send_queue import SendQueue, StreamKey
from quarterdeck.gateway.settings import GatewaySettings
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.packer import PACKED_FRAME_BYTES


def queue(**fields: Any) -> SendQueue:
    return SendQueue(GatewaySettings(gateway_id="g", carrier=Carrier.GRPC, **fields))


def sheet(priority: int = 5, spec: bytes = b"spec") -> OrderSheet:
    return OrderSheet(tenant="acme", spec=spec, priority=priority, batch_id="b1", traceparent="00-1-2-01")


def order(command_id: str) -> GatewayOrder:
    return GatewayOrder(
        command_id=command_id, agent_id="a1", attempt=1, epoch=Epoch(1, 2), timeout_ms=5, guest="vm"
    )


def packed(waiting: SendQueue, *, with_orders: bool = True) -> list[pb.GatewayMessage]:
    frame = waiting.pack(with_orders=with_orders)
    return [] if frame is None else list(pb.GatewayFrame.FromString(frame.frame).messages)


def test_one_frame_takes_all_that_is_queued_control_first() -> None:
    waiting = queue()
    waiting.put_order(sheet(), order("c1"))
    waiting.ack_output(StreamKey("c1", 1, pb.STDOUT), 10)
    waiting.ack_reports([1, 2])
    waiting.put(pb.GatewayMessage(credit=pb.Credit(window_bytes=1)))

    kinds = [message.WhichOneof("body") for message in packed(waiting)]

    assert kinds == ["credit", "report_ack", "output_ack", "order"]
    assert not waiting


def test_orders_leave_by_priority_then_by_arrival() -> None:
    """S0-32, S0-39F"""
    waiting = queue()
    for command_id, priority in (("low", 1), ("first", 5), ("second", 5), ("urgent", 10)):
        waiting.put_order(sheet(priority), order(command_id))

    assert [message.order.command_id for message in packed(waiting)] == ["urgent", "first", "second", "low"]


def test_orders_wait_until_the_link_is_welcomed() -> None:
    waiting = queue()
    waiting.put_order(sheet(), order("c1"))

    assert packed(waiting, with_orders=False) == []
    assert len(packed(waiting)) == 1


def test_only_the_newest_acknowledgement_of_a_stream_is_kept() -> None:
    """An agent that does not read costs no more memory the longer it does not."""
    waiting, key = queue(), StreamKey("c1", 1, pb.STDERR)
    waiting.ack_output(key, 10, resend=True)
    waiting.ack_output(key, 20)

    (ack,) = (message.output_ack for message in packed(waiting))

    assert (ack.offset, ack.resend, ack.stream) == (20, True, pb.STDERR)


def test_only_the_newest_heartbeat_is_answered() -> None:
    """I9 S1-12: a flood of heartbeats from an agent that does not read costs one answer."""
    waiting = queue()
    for at_ms in range(1, 1001):
        waiting.ack_heartbeat(pb.HeartbeatAck(at_ms=at_ms))

    assert waiting
    (answer,) = packed(waiting)
    assert answer.heartbeat_ack.at_ms == 1000
    assert not waiting


def test_full_queue_takes_nothing() -> None:
    """S1-5"""
    waiting = queue(queued_orders=1)

    assert waiting.put_order(sheet(), order("c1"))
    assert not waiting.put_order(sheet(), order("c2"))


def test_queue_is_bounded_in_bytes_too() -> None:
    waiting = queue(queued_order_bytes=1000)

    assert waiting.put_order(sheet(spec=b"x" * 5000), order("c1")), "one order always fits"
    assert not waiting.put_order(sheet(spec=b"x"), order("c2"))


def test_order_that_is_queued_is_held_until_it_is_packed() -> None:
    waiting = queue()
    waiting.put_order(sheet(), order("c1"))

    assert waiting.holds_order(order("c1"))
    packed(waiting)
    assert not waiting.holds_order(order("c1"))


def test_large_orders_are_spread_over_frames() -> None:
    waiting = queue()
    for number in range(6):
        waiting.put_order(sheet(spec=b"x" * 100_000), order(f"c{number}"))

    frames = []
    while (frame := waiting.pack(with_orders=True)) is not None:
        frames.append(len(frame.frame))

    assert sum(frames) > 600_000
    assert max(frames) < PACKED_FRAME_BYTES + 101_000


def test_unwritten_orders_come_back_once() -> None:
    waiting = queue()
    for number in range(3):
        waiting.put_order(sheet(), order(f"c{number}"))

    assert [queued.order.command_id for queued in waiting.take_unwritten()] == ["c0", "c1", "c2"]
    assert waiting.take_unwritten() == []
    assert waiting.put_order(sheet(), order("c0")), "the queue has room again"


def test_order_carries_everything_the_agent_needs() -> None:
    waiting = queue()
    waiting.put_order(sheet(), order("c1"))

    (message,) = packed(waiting)

    assert message.order == pb.Order(
        command_id="c1",
        attempt=1,
        epoch=pb.Epoch(incarnation=1, revision=2),
        spec=b"spec",
        timeout_ms=5,
        guest="vm",
        traceparent="00-1-2-01",
        batch_id="b1",
    )
