"""Links of quicflow clients over real QUIC and NATS: who gets one, and how it ends."""

import asyncio

import pytest

from quarterdeck.contracts import reports
from quarterdeck.contracts.agents import Dialect
from quarterdeck.contracts.links import LEASE_MS, Carrier, GatewayLease, LinkRecord
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.registry.keys import gateway_key, link_key
from quarterdeck.testing.eventually import eventually
from tests.conformance.agents.quicflow import NotAccepted
from tests.integration.gateway.carriers import Station
from tests.integration.gateway.conftest import Aggregator
from tests.integration.gateway.quicflow.conftest import Connect, Make, end_of, ended, linked, order


async def test_client_is_linked_under_its_agent_id(gateway: Station, connect: Connect) -> None:
    """S0-14: QUIC, ALPN quic-backbone-v1, on the port of our own agents."""
    caller = await connect()

    record = linked(gateway, "a1")
    assert record is not None
    assert (record.carrier, record.dialect) == (Carrier.QUIC, Dialect.QUICFLOW)
    assert caller.server_time_ms > 0


async def test_client_that_goes_away_leaves_its_commands_unknown_and_may_come_back(
    gateway: Station, connect: Connect, aggregator: Aggregator
) -> None:
    """S0-36, S0-37: unfinished commands end; after a reconnect they may be sent again."""
    first = await connect(deaf=True)
    await order(gateway, "a1", "c-1")
    await eventually(lambda: first.orders)

    await first.close()

    assert (await end_of(aggregator, "c-1")).end is CommandState.OUTCOME_UNKNOWN
    await eventually(lambda: ended(gateway, "a1"))
    second = await connect()
    await order(gateway, "a1", "c-1", "echo", b"1", attempt=2)
    await eventually(lambda: any(_succeeded(report) for report in aggregator.reports))
    assert [sent.text(1) for sent in second.orders] == ["c-1.2"]


def _succeeded(report: reports.Report) -> bool:
    return isinstance(report, reports.Result) and report.end is CommandState.SUCCEEDED


async def test_heartbeats_are_answered(gateway: Station, connect: Connect) -> None:
    caller = await connect(heartbeat_s=0.05)

    await eventually(lambda: caller.pongs > 3)
    assert not caller.ended.is_set()


async def test_client_that_is_already_connected_keeps_its_link(
    gateway: Station, connect: Connect, client: Make, aggregator: Aggregator
) -> None:
    """The newer one is turned away with code 1; five at once get one link."""
    older = await connect()

    refused = await asyncio.gather(*(client().connect() for _ in range(4)), return_exceptions=True)

    assert [refusal.code for refusal in refused if isinstance(refusal, NotAccepted)] == [1] * 4
    await order(gateway, "a1", "c-1", "echo", b"1")
    assert (await end_of(aggregator, "c-1")).end is CommandState.SUCCEEDED
    assert not older.ended.is_set()


@pytest.mark.parametrize(("age_ms", "accepted"), [(0, False), (LEASE_MS * 2, True)], ids=["alive", "dead"])
async def test_link_on_another_gateway_counts_while_that_gateway_lives(
    gateway: Station, client: Make, age_ms: int, accepted: bool
) -> None:
    registry, now_ms = gateway.ctx.registry, gateway.ctx.clock.now_ms()
    lease = GatewayLease(gateway_id="other", carrier=Carrier.QUIC, renewed_at_ms=now_ms - age_ms)
    elsewhere = LinkRecord(
        tenant="acme",
        agent_id="a1",
        gateway_id="other",
        carrier=Carrier.QUIC,
        dialect=Dialect.QUICFLOW,
        since_ms=now_ms,
    )
    await registry.gateways.put(gateway_key("other"), lease)
    await registry.links.put(link_key("acme", "a1"), elsewhere)
    await eventually(lambda: linked(gateway, "a1") is not None)

    caller = client()
    if accepted:
        await caller.connect()
    else:
        with pytest.raises(NotAccepted):
            await caller.connect()


@pytest.mark.parametrize("client_id", ["", "client-009", "x" * 200, "no\nname"])
async def test_stranger_and_nobody_are_turned_away(client: Make, client_id: str) -> None:
    """S0-27, S0-28"""
    with pytest.raises(NotAccepted) as refusal:
        await client(client_id=client_id).connect()

    assert refusal.value.code == 1


async def test_client_hears_the_drain_as_an_orderly_end(gateway: Station, connect: Connect) -> None:
    """S1-29"""
    caller = await connect()

    gateway.ctx.stopping.set()

    await asyncio.wait_for(caller.ended.wait(), 20)
    assert (caller.close_code, caller.close_phrase) == (0, "draining")
