"""NATS goes away and comes back: links stay, and what agents said meanwhile arrives."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from quarterdeck.contracts import reports, subjects
from quarterdeck.contracts.states import CommandState
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus, ensure_streams
from quarterdeck.embedded.nats_server import NatsServer
from quarterdeck.testing.eventually import eventually
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.integration.gateway.conftest import Build
from tests.integration.gateway.note_dialect import TENANT, NoteAgent


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    """Over a server of the test's own."""
    bus = await Bus.connect(nats_server.url, name="test-gateway")
    await ensure_streams(bus)
    yield bus
    await bus.close()


async def test_output_and_result_of_an_outage_arrive_whole(build: Build, nats_server: NatsServer) -> None:
    """S0-37"""
    house = await build()
    peer = await house.agent("a1")
    await house.order((peer, "c1"))
    order = (await peer.hear("order")).order
    content = b"x" * 100_000
    await peer.say(peer.output(order, 0, content[:50_000]))
    await peer.hear("output_ack")

    await nats_server.kill()
    end = pb.StreamEnd(length=len(content), sha256=hashlib.sha256(content).digest())
    await peer.say(peer.output(order, 50_000, content[50_000:]), peer.result(order, end))
    await nats_server.restart()

    found = await house.reports(lambda found: any(isinstance(report, reports.Result) for report in found))
    result = next(report for report in found if isinstance(report, reports.Result))
    assert result.stdout.length == len(content)
    assert result.stdout.stored_sha256 in {end.sha256, b""}
    subject = subjects.output("acme", None, "c1", 1, "stdout")
    stored = [m.body async for messages in house.bus.read(FEED, [subject], follow=False) for m in messages]
    assert b"".join(stored) == content
    await peer.hear("report_ack", timeout_s=10)


async def test_agent_that_comes_during_an_outage_is_told_to_come_again(
    build: Build, nats_server: NatsServer
) -> None:
    house = await build()
    await house.agent("a1")
    await nats_server.kill()

    peer = house.call("a2")
    await peer.enrol("s" * 32, (await peer.hear("challenge")).challenge.nonce)

    async with asyncio.timeout(20):
        assert (await peer.hear("goodbye", timeout_s=15)).goodbye.reason == "unavailable"


async def test_foreign_agent_that_is_not_read_during_an_outage_is_not_silent(
    build: Build, nats_server: NatsServer
) -> None:
    """S0-37 S1-3: it prints more than the gateway holds, and the outage is longer than a link may be silent."""
    house = await build(window_bytes=64 * 1024, sweep_interval_s=0.01)
    agent, silent = await NoteAgent.connected(house), await NoteAgent.connected(house, "n2")
    await agent.order("c1")
    assert await agent.hear() == {"run": "c1"}

    await nats_server.kill()
    for _ in range(4):
        await agent.say(out="c1", text="x", times=50_000)
    link = house.gateway.links.find(TENANT, "n1")
    await eventually(lambda: link._held_back)  # type: ignore[union-attr]
    house.clock.advance(61_000)
    assert await silent.hear() == {"bye": "silent"}
    await nats_server.restart()
    await agent.say(done="c1", end="succeeded")

    found = await house.reports(lambda found: any(isinstance(report, reports.Result) for report in found))
    result = next(report for report in found if isinstance(report, reports.Result))
    assert (result.end, result.stdout.length) == (CommandState.SUCCEEDED, 200_000)
