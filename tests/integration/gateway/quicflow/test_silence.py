"""How long a quicflow client may be silent: a gateway on a clock of its own, and a client at the end of a pipe."""

import asyncio

from quarterdeck.contracts.agents import AgentRecord, Dialect
from quarterdeck.contracts.links import Carrier, LinkEnd
from quarterdeck.core.registry import ForeignAgents
from quarterdeck.core.registry.keys import link_key
from quarterdeck.gateway.foreign.admission import Admission
from quarterdeck.gateway.foreign.quicflow import QuicflowDialect
from quarterdeck.gateway.foreign.quicflow_reception import QuicflowReception
from quarterdeck.testing.eventually import eventually
from quarterdeck.wire import quicflow
from quarterdeck.wire.quicflow_streams import STREAM_STEP, StreamFrame
from tests.integration.gateway.conftest import Build, House
from tests.integration.gateway.pipe import PipeEnd, pipe

JUST_LESS_MS = 44_000
"""Three looks, 15 s apart, find nothing: so long a client may be silent."""


async def connected(house: House) -> PipeEnd:
    """A client with a link, whose first PING was answered."""
    record = AgentRecord(tenant="acme", agent_id="a1", name="a1", aliases={Dialect.QUICFLOW: "client-001"})
    await ForeignAgents(house.registry).register(record, b"")
    admission = Admission(house.registry, house.clock, house.gateway.events)
    dialect = QuicflowDialect(admission, house.clock)
    reception = QuicflowReception(dialect, house.registry, house.gateway.links)
    ours, theirs = pipe()
    house.served.append(asyncio.create_task(house.gateway.serve(ours, reception)))
    await theirs.send(ping(0))
    await theirs.receive()
    return theirs


def ping(number: int) -> bytes:
    return StreamFrame(number * STREAM_STEP, quicflow.ping("client-001", 1)).pack()


async def test_three_missed_heartbeats_end_the_link(build: Build) -> None:
    """S0-37"""
    house = await build(carrier=Carrier.QUIC, sweep_interval_s=0.01)
    client = await connected(house)

    house.clock.advance(2 * JUST_LESS_MS)

    await eventually(lambda: client.other.closed_with == LinkEnd.SILENT)
    entry = await house.registry.links.get(link_key("acme", "a1"))
    assert entry is not None


async def test_heartbeats_keep_the_link(build: Build) -> None:
    house = await build(carrier=Carrier.QUIC, sweep_interval_s=0.01)
    client = await connected(house)

    for number in range(1, 4):
        house.clock.advance(JUST_LESS_MS)
        await client.send(ping(number))
        await client.receive()

    assert client.other.closed_with is None
