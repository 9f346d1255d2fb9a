"""What counts as proof that an order never reached its agent, and how long a command is awaited without any."""

from quarterdeck.contracts import streams
from quarterdeck.contracts.commands import CommandSpec, TimeoutClock
from quarterdeck.contracts.orders import DispatchChunk, DispatchItem, OrderAnswer, TerminateRequest
from quarterdeck.contracts.reports import Accepted, Returned, Started
from quarterdeck.contracts.states import CommandState
from quarterdeck.testing.eventually import eventually
from tests.integration.dispatcher.plane import SPEC, FakeGateway, Plane

S = CommandState


def _returned(command_id: str, gateway: FakeGateway, nth: int = -1) -> Returned:
    """`gateway` never wrote what the `nth` order message that it got says."""
    handover = gateway.orders[nth].handover
    return Returned(command_id=command_id, attempt=1, agent_id="a1", at_ms=1, handover=handover)


async def _twice_handed_over(plane: Plane) -> tuple[str, FakeGateway, FakeGateway]:
    """A command that gw1 took, and then gw2, when the agent had moved there."""
    first, second = await plane.gateway("gw1", "a1"), await plane.gateway("gw2")
    command_id = await plane.post("a1")
    await eventually(lambda: first.ordered == [command_id])
    await plane.link("gw2", "a1")
    await plane.look_now(command_id)
    assert second.ordered == [command_id]
    return command_id, first, second


async def test_what_one_gateway_returns_another_may_have_delivered(plane: Plane) -> None:
    """I3: a gateway that was stopped for long returns its order late; the command is not unreachable for that."""
    command_id, first, second = await _twice_handed_over(plane)
    await plane.link("gw2", "a1", ended_ms_ago=60_000)

    await plane.report(_returned(command_id, first))
    await plane.handled(streams.REPORTS)
    await plane.look_now(command_id)
    after_one = await plane.view(command_id)
    await plane.report(_returned(command_id, second))
    await plane.handled(streams.REPORTS)
    await plane.look_now(command_id)

    assert after_one.state is S.SENT
    assert (await plane.view(command_id)).state is S.UNREACHABLE


async def test_a_report_of_a_return_that_comes_twice_proves_no_more_than_once(plane: Plane) -> None:
    """I3: the bus delivers at least once."""
    command_id, first, _ = await _twice_handed_over(plane)
    await plane.link("gw2", "a1", ended_ms_ago=60_000)

    for _ in range(3):
        await plane.report(_returned(command_id, first))
    await plane.handled(streams.REPORTS)
    await plane.look_now(command_id)

    assert (await plane.view(command_id)).state is S.SENT


async def test_a_stopped_command_is_terminated_only_when_no_gateway_delivered_it(plane: Plane) -> None:
    """I8: `cancelled_before_start` needs the same proof."""
    command_id, first, second = await _twice_handed_over(plane)
    await plane.queue(TerminateRequest(tenant="t", command_id=command_id))
    await plane.until(command_id, S.TERMINATING)

    await plane.report(_returned(command_id, second))
    await plane.handled(streams.REPORTS)
    await plane.look_now(command_id)
    after_one = await plane.view(command_id)
    await plane.report(_returned(command_id, first))
    await plane.handled(streams.REPORTS)
    await plane.look_now(command_id)

    ended = await plane.view(command_id)
    assert after_one.state is S.TERMINATING
    assert (ended.state, ended.reason) == (S.TERMINATED, "cancelled_before_start")


async def test_a_dispatcher_that_slept_calls_nothing_unreachable_that_was_sent(plane: Plane) -> None:
    """I3: it wakes up with the message in hand, another dispatcher had sent the order, and now the agent is gone."""
    gateway = await plane.gateway("gw1", "a1")
    command_id = await plane.post("a1")
    view = await plane.until(command_id, S.SENT)
    await plane.link("gw1", "a1", ended_ms_ago=60_000)
    again = DispatchChunk(
        tenant="t",
        user_id="u",
        spec=SPEC,
        items=(DispatchItem(command_id, "a1"),),
        created_at_ms=view.created_at_ms,
    )

    await plane.queue(again)
    await plane.handled(streams.COMMANDS)

    assert gateway.ordered == [command_id]
    assert (await plane.view(command_id)).state is S.SENT


async def test_an_order_that_still_waits_at_its_gateway_is_not_queued_twice_and_can_come_back(
    plane: Plane,
) -> None:
    """S1-19: the second hand-over was refused as `waiting`, so the first one's return is proof enough."""
    gateway = await plane.gateway("gw1", "a1")
    command_id = await plane.post("a1")
    await eventually(lambda: gateway.ordered == [command_id])
    gateway.answer = OrderAnswer.WAITING
    await plane.look_now(command_id)
    await plane.link("gw1", "a1", ended_ms_ago=60_000)

    await plane.report(_returned(command_id, gateway, nth=0))
    await plane.handled(streams.REPORTS)
    await plane.look_now(command_id)

    assert (await plane.view(command_id)).state is S.UNREACHABLE


async def test_an_agent_may_start_until_the_order_expires_and_is_awaited_for_all_of_its_time(
    plane: Plane,
) -> None:
    """I1, I3: a command that waits for a slot at a healthy agent is not given up before it must have ended."""
    gateway = await plane.gateway("gw1", "a1")
    spec = CommandSpec(command_type="shell", payload=b"{}", timeout_ms=60_000, grace_ms=5_000)

    command_id = await plane.post("a1", spec)
    await eventually(lambda: gateway.ordered == [command_id])
    await plane.report(Accepted(command_id=command_id, attempt=1, agent_id="a1", at_ms=4))
    accepted = await plane.until(command_id, S.ACCEPTED)
    await plane.report(Started(command_id=command_id, attempt=1, agent_id="a1", at_ms=5))
    started = await plane.until(command_id, S.EXECUTING)

    expires_ms = gateway.orders[0].expires_ms
    assert expires_ms >= accepted.created_at_ms + 60_000
    assert accepted.deadline_at_ms >= expires_ms + 60_000 + 5_000
    assert started.deadline_at_ms < accepted.deadline_at_ms, "the start is known: it is awaited from there"


async def test_a_timeout_that_runs_from_creation_is_not_given_up_while_the_agent_ends_it(
    plane: Plane,
) -> None:
    """S0-19: the agent stops it at its timeout, and needs the grace and the way back."""
    gateway = await plane.gateway("gw1", "a1")
    spec = CommandSpec(
        command_type="shell",
        payload=b"{}",
        timeout_ms=60_000,
        grace_ms=5_000,
        timeout_from=TimeoutClock.CREATION,
    )

    command_id = await plane.post("a1", spec)
    await eventually(lambda: gateway.ordered == [command_id])
    sent = await plane.view(command_id)

    assert gateway.orders[0].expires_ms == sent.created_at_ms + 60_000
    assert sent.deadline_at_ms > sent.created_at_ms + 60_000 + 5_000
