"""The QUIC gateway's service with two registered quicflow clients, and what a dispatcher does with them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from quarterdeck.contracts import codec, reports, subjects
from quarterdeck.contracts.agents import AgentRecord, Dialect
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.links import Carrier, Epoch, LinkEnd, LinkRecord
from quarterdeck.contracts.orders import (
    GatewayOrder,
    GatewayOrders,
    OrderAnswer,
    OrderAnswers,
)
from quarterdeck.core.bus import Bus
from quarterdeck.core.registry import ForeignAgents
from quarterdeck.core.registry.keys import link_key
from quarterdeck.testing.eventually import eventually
from tests.conformance.agents.quicflow import (
    ClientOptions,
    SampleClient,
)
from tests.integration.gateway.carriers import Station, station
from tests.integration.gateway.conftest import Aggregator

_answers: codec.Decoder[OrderAnswers] = codec.Decoder(OrderAnswers)

Make = Callable[..., SampleClient]
Connect = Callable[..., Awaitable[SampleClient]]


@pytest.fixture
async def gateway(bus: Bus, tmp_path: Path) -> AsyncIterator[Station]:
    async with station(bus, Carrier.QUIC, tmp_path) as running:
        for number in (1, 2):
            record = AgentRecord(
                tenant="acme",
                agent_id=f"a{number}",
                name=f"a{number}",
                aliases={Dialect.QUICFLOW: f"client-00{number}"},
            )
            await ForeignAgents(running.ctx.registry).register(record, b"")
        yield running


@pytest.fixture
async def client(gateway: Station) -> AsyncIterator[Make]:
    """Makes clients; they hang up when the test ends."""
    made: list[SampleClient] = []

    def make(**options: object) -> SampleClient:
        address = f"127.0.0.1:{gateway.address.port}"
        made.append(SampleClient(address, gateway.ca_pem, ClientOptions(**options)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    await asyncio.gather(
        *(each.close() for each in made if hasattr(each, "_protocol")), return_exceptions=True
    )


@pytest.fixture
def connect(gateway: Station, client: Make) -> Connect:
    """Clients with a link that the registry knows."""

    async def call(**options: object) -> SampleClient:
        caller = await client(**options).connect()
        await eventually(lambda: linked(gateway, agent_of(caller)) is not None)
        return caller

    return call


def agent_of(caller: SampleClient) -> str:
    return caller.options.client_id.replace("client-00", "a")


def linked(gateway: Station, agent_id: str) -> LinkRecord | None:
    entry = gateway.ctx.registry.links.current.get(link_key("acme", agent_id))
    return entry.value if entry is not None and entry.value.ended_at_ms is None else None


def ended(gateway: Station, agent_id: str) -> LinkEnd | None:
    entry = gateway.ctx.registry.links.current.get(link_key("acme", agent_id))
    return None if entry is None else entry.value.end


async def order(
    gateway: Station,
    agent_id: str,
    command_id: str,
    command_type: str = "restart",
    payload: bytes = b"{}",
    timeout_ms: int = 60_000,
    attempt: int = 1,
) -> OrderAnswer:
    """What a dispatcher does."""
    registry = gateway.ctx.registry
    revision = registry.links.current[link_key("acme", agent_id)].revision
    item = GatewayOrder(
        command_id=command_id,
        agent_id=agent_id,
        attempt=attempt,
        epoch=Epoch(registry.links.incarnation, revision),
        timeout_ms=timeout_ms,
    )
    spec = CommandSpec(command_type=command_type, payload=payload, grace_ms=50)
    orders = GatewayOrders(tenant="acme", spec=spec, orders=(item,))
    raw = await gateway.ctx.bus.request(subjects.order(gateway.gateway_id), codec.encode(orders))
    [answer] = _answers.decode(raw).answers
    return answer


async def end_of(aggregator: Aggregator, command_id: str) -> reports.Result:
    def ends() -> list[reports.Result]:
        return [
            report
            for report in aggregator.reports
            if isinstance(report, reports.Result) and report.command_id == command_id
        ]

    await aggregator.wait(lambda _: bool(ends()))
    [end] = ends()
    return end
