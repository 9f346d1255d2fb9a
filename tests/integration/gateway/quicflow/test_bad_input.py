"""What no quicflow client should send: only its link ends, and nothing is lost."""

import asyncio

import pytest

from quarterdeck.contracts.agents import Dialect
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.states import CommandState
from quarterdeck.core import metrics
from quarterdeck.testing.eventually import eventually
from quarterdeck.wire.quicflow import MAX_FRAME_BYTES
from tests.conformance.agents.quicflow import (
    ACK,
    DATA,
    FAILURE,
    PING,
    SUCCESS,
    NotAccepted,
    SampleClient,
)
from tests.conformance.handpacked import text
from tests.integration.gateway.carriers import Station
from tests.integration.gateway.conftest import Aggregator
from tests.integration.gateway.quicflow.conftest import Connect, Make, end_of, ended, order


async def test_answer_to_another_clients_command_is_fenced(
    gateway: Station, connect: Connect, aggregator: Aggregator
) -> None:
    victim, liar = await connect(deaf=True), await connect(client_id="client-002")
    before = metrics.FENCED_MESSAGES.labels(Dialect.QUICFLOW)._value.get()
    await order(gateway, "a1", "c-1")
    await eventually(lambda: victim.orders)

    liar.say_ack("c-1", SUCCESS, b'"stolen"')

    await eventually(lambda: metrics.FENCED_MESSAGES.labels(Dialect.QUICFLOW)._value.get() > before)
    victim.say_ack("c-1", FAILURE, error="mine")
    assert (await end_of(aggregator, "c-1")).error == "mine"


@pytest.mark.parametrize("kind", [0, 2, DATA, ACK, 77])
async def test_first_frame_that_is_no_ping_ends_the_connection(client: Make, kind: int) -> None:
    caller = client()
    await caller.dial()

    caller.say(kind, text(1, "client-001"))

    with pytest.raises(NotAccepted) as refusal:
        await caller.answered()
    assert refusal.value.code == 1


_BROKEN = {
    "length 0": (0).to_bytes(4),
    "10 MiB + 1": (MAX_FRAME_BYTES + 1).to_bytes(4),
    "4 GiB": b"\xff\xff\xff\xff",
    "no frame": b"\x00\x00\x00\x03\xff\xff\xff",
    "ends inside a frame": b"\x00\x00\x00\x09abc",
}


@pytest.mark.parametrize("broken", _BROKEN)
async def test_broken_frame_ends_only_its_link(
    gateway: Station, connect: Connect, aggregator: Aggregator, broken: str
) -> None:
    """S1-4, S0-28"""
    bad, good = await connect(), await connect(client_id="client-002")

    bad.say_raw(_BROKEN[broken], fin=True)

    await asyncio.wait_for(bad.ended.wait(), 20)
    await eventually(lambda: ended(gateway, "a1") is LinkEnd.UNDECODABLE)
    await order(gateway, "a2", "c-1", "echo", b"1")
    assert bad.close_code == 1
    assert (await end_of(aggregator, "c-1")).end is CommandState.SUCCEEDED
    assert not good.ended.is_set()


async def test_one_byte_at_a_time_is_understood(
    gateway: Station, connect: Connect, aggregator: Aggregator
) -> None:
    caller = await connect(deaf=True)
    await order(gateway, "a1", "c-1")
    await eventually(lambda: caller.orders)
    pongs = caller.pongs
    ping = b"\x00\x00\x00\x10\x08\x01\x12\x0c\x0a\x0aclient-001"

    stream_id = caller.say_raw(ping[:1])
    for octet in ping[1:]:
        caller.say_raw(bytes([octet]), stream_id=stream_id)
        await asyncio.sleep(0)

    await eventually(lambda: caller.pongs > pongs)


async def ponged(caller: SampleClient) -> None:
    """A heartbeat, and its answer."""
    pongs = caller.pongs
    caller.say_ping()
    await eventually(lambda: caller.pongs > pongs)


async def test_streams_that_the_client_gives_up_cost_nothing(
    gateway: Station, connect: Connect, aggregator: Aggregator
) -> None:
    """I9: half a frame, then a reset; and nobody listens for the PONG."""
    caller = await connect()

    for _ in range(5):  # more streams than the gateway has open for one client at a time
        await eventually(lambda: caller.free_streams > 2 * 25)
        for _ in range(25):
            caller.give_up(caller.say_raw(b"\x00\x00\x01"))
            caller.give_up(caller.say_ping())
        await ponged(caller)

    await order(gateway, "a1", "c-1", "echo", b"1")
    assert (await end_of(aggregator, "c-1")).end is CommandState.SUCCEEDED


async def test_flood_of_heartbeats_delays_nobody(
    gateway: Station, connect: Connect, aggregator: Aggregator
) -> None:
    """I9"""
    flooding, sound = await connect(), await connect(client_id="client-002")

    for _ in range(2000):
        flooding.say_ping()
    await order(gateway, "a2", "c-1", "echo", b"1")

    assert (await end_of(aggregator, "c-1")).end is CommandState.SUCCEEDED
    assert not sound.ended.is_set()


async def test_second_ping_under_another_name_ends_the_link(gateway: Station, connect: Connect) -> None:
    caller = await connect()

    caller.say(PING, text(1, "client-002"))

    await asyncio.wait_for(caller.ended.wait(), 20)
    assert caller.close_code == 1
    await eventually(lambda: ended(gateway, "a1") is LinkEnd.PROTOCOL)
