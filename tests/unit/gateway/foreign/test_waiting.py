"""Orders that wait for a foreign agent: by priority, and no more of a type than it runs."""

from collections import Counter

from quarterdeck.gateway.foreign.command import ForeignCommand
from quarterdeck.gateway.foreign.waiting import WaitingOrders
from quarterdeck.gateway.send_queue import QueuedOrder
from quarterdeck.wire.agent_v1 import agent_pb2 as native
from tests.unit.gateway.foreign.recording import written_command


def order(command_id: str, command_type: str = "run", priority: int = 5, arrival: int = 0) -> ForeignCommand:
    spec = native.CommandSpec(command_type=command_type)
    known = written_command(command_id, spec=spec).queued
    return ForeignCommand(QueuedOrder((-priority, arrival), known.sheet, known.order), spec, arrival)


def waiting(*commands: ForeignCommand) -> WaitingOrders:
    orders = WaitingOrders()
    for command in commands:
        orders.add(command)
    return orders


def taken(orders: WaitingOrders, limit: int = 64, most: int | None = None, **running: int) -> list[str]:
    """What comes next; it is removed, as if it had been written."""
    commands = orders.next(limit, running=Counter(running), most_of_a_type=most)
    for command in commands:
        orders.remove(command.key)
    return [command.command_id for command in commands]


def test_urgent_orders_come_first_and_equal_ones_as_they_arrived() -> None:
    """S0-29"""
    orders = waiting(
        order("late", arrival=2),
        order("bulk", priority=1, arrival=3),
        order("early", arrival=1),
        order("urgent", priority=9, arrival=4),
    )
    assert taken(orders) == ["urgent", "early", "late", "bulk"]


def test_no_more_are_taken_than_asked_for() -> None:
    orders = waiting(*(order(f"c{number}", arrival=number) for number in range(5)))
    assert taken(orders, limit=2) == ["c0", "c1"]
    assert taken(orders, limit=2) == ["c2", "c3"]
    assert taken(orders, limit=2) == ["c4"]


def test_types_with_room_pass_those_that_wait_for_their_turn() -> None:
    """S1-16"""
    orders = waiting(
        order("run-1", arrival=1),
        order("run-2", arrival=2),
        order("list-1", "list", arrival=3),
        order("list-2", "list", arrival=4),
    )
    assert taken(orders, most=1, run=1) == ["list-1"]
    assert taken(orders, most=1, run=1, list=1) == []
    assert taken(orders, most=1) == ["run-1", "list-2"]
    assert taken(orders, most=1) == ["run-2"]


def test_without_a_limit_of_its_type_an_order_waits_for_none_that_runs() -> None:
    assert taken(waiting(order("c1")), run=1000) == ["c1"]


def test_what_was_removed_is_not_taken() -> None:
    first, second = order("c1", arrival=1), order("c2", arrival=2)
    orders = waiting(first, second)

    assert orders.remove(first.key) is first
    assert orders.remove(first.key) is None

    assert taken(orders, most=1) == ["c2"]
    assert len(orders) == 0


def test_orders_that_are_stopped_behind_a_long_command_leave_nothing() -> None:
    """I9: the heap of a type without room is not walked, and must not grow with every order that came and went."""
    orders = waiting(order("waits", arrival=0))

    for number in range(1, 5000):
        stopped = order(f"c{number}", arrival=number)
        orders.add(stopped)
        assert orders.next(64, running=Counter(run=1), most_of_a_type=1) == []
        orders.remove(stopped.key)

    assert len(orders._heap) < 1000
    assert orders.queued_bytes == order("waits").queued.size_bytes
    assert taken(orders, most=1) == ["waits"]


def test_order_that_is_being_written_is_not_taken_again_when_others_are_removed() -> None:
    """I2"""
    others = [order(f"c{number}", arrival=number) for number in range(1, 2000)]
    orders = waiting(order("first"), *others)
    [written] = orders.next(1, running=Counter(), most_of_a_type=None)

    for other in others:
        orders.remove(other.key)

    assert written.command_id == "first"
    assert orders.next(64, running=Counter(), most_of_a_type=None) == []
    assert orders.remove(written.key) is written
