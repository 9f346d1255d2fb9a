"""Commands that name no agent go to whoever can do them, wait while nobody can, and never run twice."""

import asyncio

from quarterdeck.contracts import streams
from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.orders import OrderAnswer, TerminateRequest
from quarterdeck.contracts.reports import Accepted, Result
from quarterdeck.contracts.sessions import ANY_AGENT
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.conversations import ConversationCommandService
from quarterdeck.core.registry.keys import agent_key
from quarterdeck.testing.eventually import eventually
from tests.integration.dispatcher.plane import Plane

S = CommandState


async def _agent(plane: Plane, agent_id: str, *capabilities: str) -> None:
    record = AgentRecord(tenant="t", agent_id=agent_id, name=agent_id, capabilities=capabilities)
    key = agent_key("t", agent_id)
    revision = await plane.registry.agents.put(key, record)
    await eventually(
        lambda: (entry := plane.registry.agents.current.get(key)) is not None and entry.revision >= revision
    )


def _service(plane: Plane) -> ConversationCommandService:
    return ConversationCommandService(plane.store, plane.relay, plane.clock, tenant="t")


async def _ask(plane: Plane, command_type: str = "greet") -> str:
    """A command in a session of its own."""
    session = await _service(plane).create_session("u")
    command = await _service(plane).submit(
        "u", session.session_id, command_type=command_type, payload={"who": "world"}
    )
    return command.command_id


async def test_it_goes_to_an_agent_that_can_do_it(plane: Plane) -> None:
    await _agent(plane, "can", "shell", "greet")
    await _agent(plane, "cannot", "shell")
    gateway = await plane.gateway("gw1", "can", "cannot")

    command_id = await _ask(plane)
    await plane.until(command_id, S.SENT)
    await eventually(lambda: gateway.ordered == [command_id])
    order = gateway.orders[0].orders[0]
    await plane.report(
        Accepted(command_id=command_id, attempt=1, agent_id="can", at_ms=4),
        Result(command_id=command_id, attempt=1, agent_id="can", at_ms=5, end=S.SUCCEEDED, result=b'"hi"'),
    )

    view = await plane.until(command_id, S.SUCCEEDED)
    assert (order.agent_id, view.agent_id) == ("can", "can")


async def test_agents_that_can_take_turns(plane: Plane) -> None:
    for agent_id in ("a1", "a2", "a3"):
        await _agent(plane, agent_id, "greet")
    gateway = await plane.gateway("gw1", "a1", "a2", "a3")

    commands = [await _ask(plane) for _ in range(6)]
    await asyncio.gather(*(plane.until(command_id, S.SENT) for command_id in commands))
    await eventually(lambda: len(gateway.ordered) == 6)

    taken = [order.agent_id for orders in gateway.orders for order in orders.orders]
    assert sorted(taken) == ["a1", "a1", "a2", "a2", "a3", "a3"]


async def test_it_waits_while_nobody_can_and_goes_to_the_first_who_comes(plane: Plane) -> None:
    gateway = await plane.gateway("gw1")
    await _agent(plane, "other", "shell")
    await plane.link("gw1", "other")
    command_id = await _ask(plane)
    view = await plane.until(command_id, S.WAITING)
    assert view.agent_id == ANY_AGENT

    await _agent(plane, "late", "greet")
    assert (await plane.view(command_id)).state is S.WAITING
    await plane.link("gw1", "late")

    view = await plane.until(command_id, S.SENT)
    assert view.agent_id == "late"
    await eventually(lambda: gateway.ordered == [command_id])


async def test_it_is_picked_up_when_an_agent_learns_to_do_it(plane: Plane) -> None:
    gateway = await plane.gateway("gw1")
    await _agent(plane, "a1", "shell")
    await plane.link("gw1", "a1")
    command_id = await _ask(plane)
    await plane.until(command_id, S.WAITING)

    await _agent(plane, "a1", "shell", "greet")

    await plane.until(command_id, S.SENT)
    await eventually(lambda: gateway.ordered == [command_id])


async def test_what_never_reached_its_agent_goes_to_another_one(plane: Plane) -> None:
    """I2: only the proof that it was never written sends it elsewhere, as another attempt."""
    await _agent(plane, "a1", "greet")
    gateway = await plane.gateway("gw1", "a1")
    gateway.answer = OrderAnswer.GONE
    command_id = await _ask(plane)
    await plane.until(command_id, S.SENT)
    await plane.handled(streams.COMMANDS)
    await plane.link("gw1", "a1", ended_ms_ago=60_000)

    await plane.look_now(command_id)
    await _agent(plane, "a2", "greet")
    gateway.answer = OrderAnswer.QUEUED
    await plane.link("gw1", "a2")
    await plane.look_now(command_id)

    view = await plane.until(command_id, S.SENT)
    assert (view.agent_id, view.attempt) == ("a2", 2)


async def test_it_stays_with_an_agent_that_may_have_it(plane: Plane) -> None:
    """I3: no proof, no second agent."""
    await _agent(plane, "a1", "greet")
    gateway = await plane.gateway("gw1", "a1")
    command_id = await _ask(plane)
    await plane.until(command_id, S.SENT)
    await eventually(lambda: gateway.ordered == [command_id])
    await _agent(plane, "a2", "greet")
    await plane.link("gw1", "a2")
    await plane.link("gw1", "a1", ended_ms_ago=60_000)

    await plane.look_now(command_id)

    view = await plane.view(command_id)
    assert (view.state, view.agent_id, view.attempt) == (S.SENT, "a1", 1)


async def test_a_stop_reaches_the_agent_that_has_it_and_ends_what_nobody_has(plane: Plane) -> None:
    await _agent(plane, "a1", "greet")
    gateway = await plane.gateway("gw1", "a1")
    sent, waiting = await _ask(plane), await _ask(plane, "unknown_to_all")
    await plane.until(sent, S.SENT)
    await plane.until(waiting, S.WAITING)

    for command_id in (sent, waiting):
        await plane.queue(TerminateRequest(tenant="t", command_id=command_id))

    await plane.until(waiting, S.TERMINATED)
    await plane.until(sent, S.TERMINATING)
    await eventually(lambda: bool(gateway.stops))
    assert [item.agent_id for item in gateway.stops[0].items] == ["a1"]
