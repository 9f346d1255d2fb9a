"""Streams of a quicflow client are used up one by one: each must end, or there is none left for the next heartbeat."""

import json

import pytest

from quarterdeck.contracts.states import CommandState
from quarterdeck.testing.eventually import eventually
from tests.conformance.agents.quicflow import EVENT, SUCCESS, Answering, SampleClient
from tests.integration.gateway.carriers import Station
from tests.integration.gateway.conftest import Aggregator
from tests.integration.gateway.quicflow.conftest import Connect, end_of, order

_MORE_THAN_OPEN_AT_ONCE = 300
"""A gateway lets a client have 128 streams open; a new one may follow for each that ended."""


async def ponged(caller: SampleClient) -> None:
    pongs = caller.pongs
    caller.say_ping()
    await eventually(lambda: caller.pongs > pongs)


@pytest.mark.parametrize("kind", ["event", "callback", "late answer", "unknown frame"])
async def test_message_without_an_answer_ends_its_stream(
    gateway: Station, connect: Connect, kind: str
) -> None:
    """I9: events and late answers, a stream for each, leave room for heartbeats."""
    caller = await connect()

    for number in range(_MORE_THAN_OPEN_AT_ONCE):
        match kind:
            case "event":
                body = json.dumps({"command_type": "load", "payload": number}).encode()
                caller.say_message(EVENT, body)
            case "callback":
                caller.say_callback(f"c-{number}", success=True)
            case "late answer":
                caller.say_ack(f"c-{number}", SUCCESS)
            case _:
                caller.say(77, b"")
        if number % 50 == 0:
            await ponged(caller)

    await ponged(caller)
    assert not caller.ended.is_set()


@pytest.mark.parametrize("answering", [Answering.ACK_ON_OWN_STREAM, Answering.CALLBACK])
async def test_client_that_answers_on_streams_of_its_own_answers_any_number_of_commands(
    gateway: Station, connect: Connect, aggregator: Aggregator, answering: Answering
) -> None:
    """S0-10 I9"""
    caller = await connect(answering=answering)

    for number in range(150):
        await order(gateway, "a1", f"c-{number}", "echo", b"1")

    assert (await end_of(aggregator, "c-149")).end is CommandState.SUCCEEDED
    await ponged(caller)
