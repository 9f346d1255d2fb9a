"""The Python SDK's quicflow client against the real gateway: the wire that the sample client speaks, spoken by ours."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from quarterdeck.agent.quicflow import (
    CommandHandler,
    Dispatcher,
    MessageType,
    QuicflowClient,
    QuicflowSettings,
    UnknownCommand,
)
from quarterdeck.agent.samples import SampleCommands
from quarterdeck.agent.sdk import Agent
from quarterdeck.contracts.agents import Dialect
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.states import CommandState
from quarterdeck.core import metrics
from quarterdeck.core.registry.keys import link_key
from quarterdeck.testing.eventually import eventually
from quarterdeck.wire.quicflow import MAX_FRAME_BYTES, CommandCallback
from tests.integration.gateway.carriers import Station
from tests.integration.gateway.conftest import Aggregator
from tests.integration.gateway.quicflow.conftest import end_of, ended, linked, order


@pytest.fixture
def settings(gateway: Station) -> QuicflowSettings:
    return QuicflowSettings(server=gateway.address, client_id="client-001", ca_pem=gateway.ca_pem)


@pytest.fixture
async def agent(gateway: Station, settings: QuicflowSettings) -> AsyncIterator[Agent]:
    """An `Agent` with the sample commands, running as a quicflow client."""
    agent, stopping = Agent(), asyncio.Event()
    SampleCommands().register(agent.handlers)
    serving = asyncio.create_task(agent.serve(settings, stopping))
    await eventually(lambda: linked(gateway, "a1"))
    yield agent
    stopping.set()
    await asyncio.wait_for(serving, 30)


async def test_sample_commands_run_on_this_wire(
    gateway: Station, agent: Agent, aggregator: Aggregator
) -> None:
    """S0-10, S0-11, S0-13, S0-15: the handlers are those of the native wire, untouched."""
    await order(gateway, "a1", "c-1", "restart", b'{"delay_seconds": 0.01}')
    await order(gateway, "a1", "c-2", "update_config", b'{"config": {"level": "debug"}}')

    restarted, updated = await end_of(aggregator, "c-1"), await end_of(aggregator, "c-2")
    assert (restarted.end, restarted.result) == (
        CommandState.SUCCEEDED,
        b'{"success":true,"message":"Restarted"}',
    )
    assert updated.result == b'{"success":true,"message":"Config updated"}'


@pytest.mark.parametrize(
    ("command_type", "payload", "error"),
    [
        ("self_destruct", b"{}", "unknown command: self_destruct"),
        ("restart", b'{"delay_seconds": -1}', "invalid payload: "),
        ("broken", b"{}", "execution failed: disk on fire"),
    ],
)
async def test_errors_arrive_in_the_words_of_the_source(
    gateway: Station, agent: Agent, aggregator: Aggregator, command_type: str, payload: bytes, error: str
) -> None:
    """S0-12, S0-20, S0-21"""

    @agent.handler("broken")
    async def broken() -> None:
        raise RuntimeError("disk on fire")

    await order(gateway, "a1", "c-1", command_type, payload)

    end = await end_of(aggregator, "c-1")
    assert end.end is CommandState.FAILED
    assert end.error.startswith(error)


async def test_result_that_no_frame_can_hold_is_a_failure_that_says_so(
    gateway: Station, settings: QuicflowSettings, aggregator: Aggregator
) -> None:
    """S0-20 S0-28: an answer must come, or the command would wait for its timeout."""

    class Verbose:
        async def execute(self, command_type: str, payload: bytes) -> bytes:
            return b'"' + b"x" * MAX_FRAME_BYTES + b'"'

    client, dispatcher = QuicflowClient(settings), Dispatcher()
    dispatcher.register_handler(MessageType.COMMAND, CommandHandler(client, Verbose()))
    dispatcher.start()
    client.set_dispatcher(dispatcher)
    running = asyncio.create_task(client.run())
    await eventually(lambda: linked(gateway, "a1"))

    await order(gateway, "a1", "c-1")
    end = await end_of(aggregator, "c-1")
    client.stop()
    await asyncio.wait_for(running, 30)

    assert end.end is CommandState.FAILED
    assert end.error.startswith("execution failed: the result has ")


async def test_second_restart_is_told_that_the_first_one_runs(
    gateway: Station, agent: Agent, aggregator: Aggregator
) -> None:
    """S0-21: resource busy."""
    await order(gateway, "a1", "c-1", "restart", b'{"delay_seconds": 3}')
    await order(gateway, "a1", "c-2", "restart")

    assert (await end_of(aggregator, "c-2")).error == "cannot execute: resource busy"
    assert (await end_of(aggregator, "c-1")).end is CommandState.SUCCEEDED


async def test_client_written_as_in_the_source_works(
    gateway: Station, settings: QuicflowSettings, aggregator: Aggregator
) -> None:
    """S0-11, S0-12, S0-13: CommandExecutor, CommandHandler, Dispatcher, as its integration guide has them."""

    class MyExecutor:
        async def execute(self, command_type: str, payload: bytes) -> bytes:
            if command_type != "restart":
                raise UnknownCommand(command_type)
            return b'{"success":true}'

    client = QuicflowClient(settings)
    dispatcher = Dispatcher()
    dispatcher.register_handler(MessageType.COMMAND, CommandHandler(client, MyExecutor()))
    dispatcher.start()
    client.set_dispatcher(dispatcher)
    running = asyncio.create_task(client.run())
    await eventually(lambda: linked(gateway, "a1"))
    before = metrics.DIALECT_EVENTS.labels(Dialect.QUICFLOW, "callback")._value.get()

    await order(gateway, "a1", "c-1")
    end = await end_of(aggregator, "c-1")
    await client.send_callback(CommandCallback(callback_id="c-1", command_type="restart", success=True))
    await eventually(
        lambda: metrics.DIALECT_EVENTS.labels(Dialect.QUICFLOW, "callback")._value.get() > before
    )
    client.stop()
    await asyncio.wait_for(running, 30)

    assert (end.end, end.result) == (CommandState.SUCCEEDED, b'{"success":true}')
    await eventually(lambda: ended(gateway, "a1") is LinkEnd.CLOSED)


async def test_client_comes_back_when_its_link_was_ended(
    gateway: Station, agent: Agent, aggregator: Aggregator
) -> None:
    """S0-36, S0-37: connected again by itself, commands run again."""
    first = linked(gateway, "a1")

    await gateway.ctx.registry.links.delete(link_key("acme", "a1"))

    await eventually(lambda: linked(gateway, "a1") not in {None, first}, within_s=40)
    await order(gateway, "a1", "c-1", "restart")
    assert (await end_of(aggregator, "c-1")).end is CommandState.SUCCEEDED
