"""How a command gets to its gateway, and what becomes of one that does not."""

import asyncio

from quarterdeck.contracts import streams, subjects
from quarterdeck.contracts.commands import CommandSpec, Lane
from quarterdeck.contracts.ids import child_id
from quarterdeck.contracts.orders import DispatchChunk, DispatchItem, OrderAnswer, TerminateRequest
from quarterdeck.contracts.reports import Accepted, Rejected, Result, Returned, TerminateAcked
from quarterdeck.contracts.states import BatchState, CommandState
from quarterdeck.core.bus import Outgoing
from quarterdeck.testing.eventually import eventually
from tests.integration.dispatcher.plane import SPEC, Plane

S = CommandState


def _result(command_id: str, agent: str, end: CommandState = S.SUCCEEDED) -> Result:
    return Result(command_id=command_id, attempt=1, agent_id=agent, at_ms=5, end=end, exit_code=0)


async def test_a_command_is_sent_and_its_result_ends_it(plane: Plane) -> None:
    """S0-9, S0-10: pending, sent, accepted, succeeded."""
    gateway = await plane.gateway("gw1", "a1")

    command_id = await plane.post("a1")
    sent = await plane.until(command_id, S.SENT)
    await plane.report(Accepted(command_id=command_id, attempt=1, agent_id="a1", at_ms=4))
    await plane.until(command_id, S.ACCEPTED)
    await plane.report(_result(command_id, "a1"))
    done = await plane.until(command_id, S.SUCCEEDED)

    assert gateway.ordered == [command_id]
    assert (sent.gateway_id, sent.via, sent.attempt) == ("gw1", "grpc", 1)
    assert (done.exit_code, done.accepted_at_ms, done.completed_at_ms) == (0, 4, 5)


async def test_an_agent_never_seen_is_unreachable_at_once(plane: Plane) -> None:
    """S0-18, S4-14"""
    command_id = await plane.post("nobody")

    ended = await plane.until(command_id, S.UNREACHABLE)

    assert ended.error == "client not connected: nobody"


async def test_an_agent_lost_a_moment_ago_gets_its_command_when_it_is_back(plane: Plane) -> None:
    """S0-37: a rolling restart fails nothing."""
    gateway = await plane.gateway("gw1")
    await plane.link("gw1", "a1", ended_ms_ago=0)

    command_id = await plane.post("a1")
    await plane.handled(streams.COMMANDS)
    assert (await plane.view(command_id)).state is S.PENDING
    await plane.link("gw1", "a1")
    await plane.look_now(command_id)

    await plane.until(command_id, S.SENT)
    assert gateway.ordered == [command_id]


async def test_a_batch_goes_out_as_one_message_per_gateway(plane: Plane) -> None:
    """S0-31, S4-13: one spec, many lines."""
    agents = tuple(f"a{index}" for index in range(20))
    first = await plane.gateway("gw1", *agents[:10])
    second = await plane.gateway("gw2", *agents[10:])

    batch_id = await plane.post_batch(agents)
    await eventually(lambda: bool(first.orders and second.orders))

    assert [len(orders.orders) for orders in first.orders + second.orders] == [10, 10]
    assert first.orders[0].spec == SPEC
    batch = await plane.store.batch("t", batch_id)
    assert batch is not None
    assert (batch.state, batch.counts) == (BatchState.IN_PROGRESS, {S.SENT: 20})


async def test_all_unreachable_is_failed_to_start(plane: Plane) -> None:
    """S4-15"""
    batch_id = await plane.post_batch(("x1", "x2", "x3"))

    await plane.until(child_id(batch_id, 2), S.UNREACHABLE)

    batch = await plane.store.batch("t", batch_id)
    assert batch is not None
    assert batch.state is BatchState.FAILED_TO_START


async def test_a_busy_gateway_is_asked_again(plane: Plane) -> None:
    """S1-19"""
    gateway = await plane.gateway("gw1", "a1")
    gateway.answer = OrderAnswer.BUSY
    command_id = await plane.post("a1")
    await eventually(lambda: gateway.ordered == [command_id])

    gateway.answer = OrderAnswer.QUEUED
    await plane.handled(streams.COMMANDS)
    await plane.look_now(command_id)

    assert gateway.ordered == [command_id, command_id]
    assert [order.attempt for orders in gateway.orders for order in orders.orders] == [1, 1]


async def test_returned_and_gone_is_unreachable_but_unproved_is_not(plane: Plane) -> None:
    """I3: only a gateway's proof makes a sent command unreachable."""
    gateway = await plane.gateway("gw1", "a1", "a2")
    proved, unproved = await plane.post("a1"), await plane.post("a2")
    await eventually(lambda: len(gateway.ordered) == 2)
    handover = next(orders.handover for orders in gateway.orders if orders.orders[0].agent_id == "a1")
    await plane.report(Returned(command_id=proved, attempt=1, agent_id="a1", at_ms=1, handover=handover))
    for agent in ("a1", "a2"):
        await plane.link("gw1", agent, ended_ms_ago=60_000)
    await plane.handled(streams.REPORTS)

    await plane.look_now(proved, unproved)

    assert (await plane.view(proved)).state is S.UNREACHABLE
    assert (await plane.view(unproved)).state is S.SENT


async def test_a_queued_command_waits_for_its_agent(plane: Plane) -> None:
    """S4-38F: offline machines can be queued for."""
    spec = CommandSpec(command_type="shell", payload=b"{}", queue_for_ms=60_000)
    command_id = await plane.post("a1", spec)
    await plane.until(command_id, S.WAITING)

    gateway = await plane.gateway("gw1", "a1")

    await plane.until(command_id, S.SENT)
    assert gateway.ordered == [command_id]


async def test_a_queued_command_that_a_gateway_could_not_deliver_waits_on(plane: Plane) -> None:
    """S4-38F: a link that ends with orders unwritten is no end of the time to queue for."""
    gateway = await plane.gateway("gw1", "a1")
    spec = CommandSpec(command_type="shell", payload=b"{}", queue_for_ms=60_000)
    command_id = await plane.post("a1", spec)
    await eventually(lambda: gateway.ordered == [command_id])
    handover = gateway.orders[0].handover
    await plane.report(Returned(command_id=command_id, attempt=1, agent_id="a1", at_ms=1, handover=handover))
    await plane.link("gw1", "a1", ended_ms_ago=60_000)
    await plane.handled(streams.REPORTS)

    await plane.look_now(command_id)
    without_link = await plane.view(command_id)
    await plane.link("gw1", "a1")
    await plane.look_now(command_id)

    assert without_link.state is S.SENT
    assert gateway.ordered == [command_id, command_id]
    assert [order.attempt for orders in gateway.orders for order in orders.orders] == [1, 1]


async def test_a_redelivered_chunk_hands_the_same_attempt_over_again(plane: Plane) -> None:
    """I2: the second delivery makes no second attempt."""
    gateway = await plane.gateway("gw1", "a1")
    command_id = await plane.post("a1")
    view = await plane.until(command_id, S.SENT)
    again = DispatchChunk(
        tenant="t",
        user_id="u",
        spec=SPEC,
        items=(DispatchItem(command_id, "a1"),),
        created_at_ms=view.created_at_ms,
    )

    await plane.queue(again)
    await plane.handled(streams.COMMANDS)
    await plane.attention.sweep()

    assert gateway.ordered == [command_id, command_id]
    assert (await plane.view(command_id)).attempt == 1


async def test_terminating_a_batch_stops_what_runs_and_never_sends_the_rest(plane: Plane) -> None:
    """S4-5, S4-24: TERMINATING until the agents answer, then TERMINATED."""
    gateway = await plane.gateway("gw1", "a1", "a2")
    batch_id = await plane.post_batch(("a1", "a2"))
    await eventually(lambda: len(gateway.ordered) == 2)

    written = await plane.store.terminate_batch("t", batch_id, [])
    await plane.relay.publish(written.entries)
    await plane.queue(TerminateRequest(tenant="t", batch_id=batch_id))
    await eventually(lambda: bool(gateway.stops))
    ids = [child_id(batch_id, index) for index in range(2)]
    assert {item.command_id for stop in gateway.stops for item in stop.items} == set(ids)
    assert {(await plane.view(command_id)).state for command_id in ids} == {S.TERMINATING}

    await plane.report(
        *(
            _result(command_id, agent, S.TERMINATED)
            for command_id, agent in zip(ids, ("a1", "a2"), strict=True)
        )
    )
    await plane.until(ids[1], S.TERMINATED)
    batch = await plane.store.batch("t", batch_id)
    assert batch is not None
    assert batch.state is BatchState.TERMINATED


async def test_a_stop_is_repeated_until_it_is_acknowledged(plane: Plane) -> None:
    """S4-6, I8"""
    gateway = await plane.gateway("gw1", "a1")
    command_id = await plane.post("a1")
    await plane.until(command_id, S.SENT)
    await plane.queue(TerminateRequest(tenant="t", command_id=command_id))
    await plane.until(command_id, S.TERMINATING)

    await plane.look_now(command_id)
    assert len(gateway.stops) == 2

    await plane.report(TerminateAcked(command_id=command_id, attempt=1, agent_id="a1", at_ms=1))
    await plane.handled(streams.REPORTS)
    await plane.attention.sweep()
    assert len(gateway.stops) == 2


async def test_a_rejection_behind_a_stop_means_terminated(plane: Plane) -> None:
    """I8: it never ran, as was asked."""
    await plane.gateway("gw1", "a1")
    command_id = await plane.post("a1")
    await plane.until(command_id, S.SENT)
    await plane.queue(TerminateRequest(tenant="t", command_id=command_id))
    await plane.until(command_id, S.TERMINATING)

    await plane.report(
        Rejected(command_id=command_id, attempt=1, agent_id="a1", at_ms=1, reason="r", error="e")
    )

    await plane.until(command_id, S.TERMINATED)


async def test_an_undecodable_message_goes_to_the_dead_letters_and_holds_nobody_up(plane: Plane) -> None:
    """S1-17"""
    await plane.gateway("gw1", "a1")
    await plane.bus.publish(Outgoing(subjects.command("t", Lane.NORMAL), b"\xc1 not a message"))

    await plane.until(await plane.post("a1"), S.SENT)

    dead = await plane.bus.last_message(streams.DEAD, subjects.dead(streams.COMMANDS))
    assert dead is not None
    assert dead.headers["Qd-Reason"] == "decode_error"


async def test_urgent_commands_pass_a_queue_of_bulk(plane: Plane) -> None:
    """S0-32, S0-39F: lanes are separate; an urgent command is not behind the bulk that came first."""
    gateway = await plane.gateway("gw1", "a1")
    gateway.held = asyncio.Event()
    bulk = CommandSpec(command_type="shell", payload=b"{}", priority=1)
    urgent = CommandSpec(command_type="shell", payload=b"{}", priority=10)
    await asyncio.gather(*(plane.post_batch(("a1",), bulk) for _ in range(300)))
    await eventually(lambda: gateway.orders)

    command_id = await plane.post("a1", urgent)
    await eventually(lambda: command_id in gateway.ordered)

    assert len(gateway.ordered) < 301
    gateway.held.set()
    await eventually(lambda: len(set(gateway.ordered)) == 301)
