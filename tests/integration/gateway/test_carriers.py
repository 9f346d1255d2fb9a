"""Both gateway services over real sockets and TLS: the same behaviour on QUIC and on gRPC."""

import asyncio
import hashlib
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.agent.errors import ConnectionLost
from quarterdeck.contracts import codec, reports, subjects
from quarterdeck.contracts.agents import JoinToken
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.limits import MAX_FRAME_BYTES
from quarterdeck.contracts.links import Carrier, Epoch, LinkEnd
from quarterdeck.contracts.orders import GatewayOrder, GatewayOrders
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus
from quarterdeck.core.registry.keys import join_token_key, link_key
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.join_token import secret_hash
from quarterdeck.wire.pki import CertificateAuthority
from tests.integration.gateway.carriers import Station, station
from tests.integration.gateway.conftest import Aggregator
from tests.integration.gateway.peer import Peer

_SECRET = "s" * 32


@pytest.fixture(params=[Carrier.QUIC, Carrier.GRPC], ids=str)
async def gateway(request: pytest.FixtureRequest, bus: Bus, tmp_path: Path) -> AsyncIterator[Station]:
    async with station(bus, request.param, tmp_path) as running:
        token = JoinToken(
            token_id="t", tenant="acme", created_at_ms=0, expires_at_ms=1 << 50, uses_left=1_000_000
        )
        await running.ctx.registry.tokens.put(join_token_key(secret_hash(_SECRET)), token)
        yield running


async def joined(gateway: Station, agent_id: str) -> Peer:
    return await (await gateway.call(agent_id)).open(join_secret=_SECRET)


async def ordered(gateway: Station, peer: Peer, command_id: str) -> pb.Order:
    epoch = Epoch(peer.epoch.incarnation, peer.epoch.revision)
    order = GatewayOrder(
        command_id=command_id, agent_id=peer.agent_id, attempt=1, epoch=epoch, timeout_ms=1000
    )
    orders = GatewayOrders(
        tenant="acme", spec=CommandSpec(command_type="shell", payload=b"{}"), orders=(order,)
    )
    await gateway.ctx.bus.request(subjects.order(gateway.gateway_id), codec.encode(orders))
    return (await peer.hear("order")).order


async def test_command_runs_over_the_wire(gateway: Station, aggregator: Aggregator) -> None:
    """S0-14, S1-11, S4-7"""
    peer = await joined(gateway, "a1")
    order = await ordered(gateway, peer, "c1")
    content = os.urandom(3_000_000)

    sending = asyncio.create_task(_stream(peer, order, content))
    await aggregator.wait(lambda found: any(isinstance(report, reports.Result) for report in found))
    await sending

    result = next(report for report in aggregator.reports if isinstance(report, reports.Result))
    assert result.stdout.stored_sha256 == hashlib.sha256(content).digest()
    subject = subjects.output("acme", None, "c1", 1, "stdout")
    read = gateway.ctx.bus.read(FEED, [subject], follow=False)
    assert b"".join([message.body async for messages in read for message in messages]) == content


async def _stream(peer: Peer, order: pb.Order, content: bytes, window: int = 1_000_000) -> None:
    """As an agent does: never more than a window unacknowledged."""
    stored = 0
    for at in range(0, len(content), 60_000):
        await peer.say(peer.output(order, at, content[at : at + 60_000]))
        while at - stored > window:
            stored = (await peer.hear("output_ack")).output_ack.offset
    end = pb.StreamEnd(length=len(content), sha256=hashlib.sha256(content).digest())
    await peer.say(peer.result(order, end))
    await peer.hear("report_ack", timeout_s=20)


async def test_link_that_the_agent_closes_is_recorded_as_ended(gateway: Station) -> None:
    """S1-17"""
    peer = await joined(gateway, "a1")
    ended = _ended(gateway, "a1")

    await peer.wire.close()  # type: ignore[attr-defined]

    assert await ended == LinkEnd.CLOSED


@pytest.mark.parametrize("gateway", [Carrier.GRPC], indirect=True)
async def test_call_that_the_agent_cancels_is_told_apart_from_an_orderly_end(
    gateway: Station, capsys: pytest.CaptureFixture[str]
) -> None:
    """S1-17"""
    peer = await joined(gateway, "a1")
    ended = _ended(gateway, "a1")

    peer.wire._call.cancel()  # type: ignore[attr-defined]

    assert await ended == LinkEnd.CLOSED
    logged = capsys.readouterr().out
    assert "gateway.connection_lost" in logged
    assert "cancelled" in logged


async def test_older_link_of_an_agent_hears_why_it_ends(gateway: Station) -> None:
    older = await joined(gateway, "a1")

    await (await gateway.call("a1", older.key)).open()

    assert await older.hear_end() == "replaced"


async def test_undecodable_frame_closes_only_its_link(gateway: Station) -> None:
    """S1-4"""
    broken, sound = await joined(gateway, "a1"), await joined(gateway, "a2")

    await broken.wire.send(b"\xff\xff\xff")

    assert await broken.hear_end() == "undecodable"
    await sound.say(pb.AgentMessage(heartbeat=pb.Heartbeat(at_ms=5)))
    assert (await sound.hear("heartbeat_ack")).heartbeat_ack.at_ms == 5


async def test_stranger_is_told_so(gateway: Station) -> None:
    peer = await gateway.call("a1")
    await peer.greet((await peer.hear("challenge")).challenge.nonce)

    assert await peer.hear_end() == "unauthenticated"


async def test_gateway_of_another_authority_is_not_trusted(gateway: Station) -> None:
    """S1-28: TLS on both carriers."""
    gateway.ca_pem = CertificateAuthority.create().certificate_pem

    with pytest.raises((ConnectionLost, ssl.SSLError)):
        await gateway.call("a1")


async def test_agents_hear_the_drain_and_go(gateway: Station) -> None:
    """S1-29"""
    peer = await joined(gateway, "a1")

    gateway.ctx.stopping.set()

    await peer.hear("drain")
    assert await peer.hear_end() == "draining"


async def test_many_agents_come_at_once(gateway: Station) -> None:
    """S0-31"""
    peers = await asyncio.gather(*(joined(gateway, f"a{number}") for number in range(50)))

    for number, peer in enumerate(peers):
        await ordered(gateway, peer, f"c{number}")

    epochs = {peer.epoch.revision for peer in peers}
    assert len(epochs) == len(peers)


async def test_frames_of_the_greatest_size_pass(gateway: Station) -> None:
    peer = await joined(gateway, "a1")
    padding = pb.InventoryReply(items=b"x" * (MAX_FRAME_BYTES - 100))

    await peer.say(pb.AgentMessage(inventory_reply=padding))

    await peer.say(pb.AgentMessage(heartbeat=pb.Heartbeat(at_ms=6)))
    assert (await peer.hear("heartbeat_ack", timeout_s=20)).heartbeat_ack.at_ms == 6


async def test_agent_that_stops_reading_delays_nobody(gateway: Station) -> None:
    """S1-19: its window and its queue bound what it can hold here."""
    deaf, sound = await joined(gateway, "a1"), await joined(gateway, "a2")
    epoch = Epoch(deaf.epoch.incarnation, deaf.epoch.revision)
    order = [
        GatewayOrder(command_id=f"c{n}", agent_id="a1", attempt=1, epoch=epoch, timeout_ms=1)
        for n in range(200)
    ]
    spec = CommandSpec(command_type="shell", payload=b"x" * 200_000)
    orders = GatewayOrders(tenant="acme", spec=spec, orders=tuple(order))

    await gateway.ctx.bus.request(subjects.order(gateway.gateway_id), codec.encode(orders))

    await sound.say(pb.AgentMessage(heartbeat=pb.Heartbeat(at_ms=8)))
    assert (await sound.hear("heartbeat_ack")).heartbeat_ack.at_ms == 8


async def _ended(gateway: Station, agent_id: str) -> LinkEnd:
    """Wait until the record of the agent's link says why it ended."""
    links, changed = gateway.ctx.registry.links, asyncio.Event()
    links.on_change(lambda *_: changed.set())
    async with asyncio.timeout(10):
        while True:
            changed.clear()
            entry = links.current.get(link_key("acme", agent_id))
            if entry is not None and entry.value.end is not None:
                return entry.value.end
            await changed.wait()
