"""A gRPC gateway that DeepFlow agents come to, sample agents at it, and what the plane hears of their commands."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.links import Carrier, Epoch, LinkRecord
from quarterdeck.contracts.orders import GatewayOrder, GatewayOrders, GatewayTerminate, TerminateItem
from quarterdeck.contracts.reports import Report, Result
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus
from quarterdeck.core.registry.keys import link_key
from quarterdeck.testing.eventually import eventually
from tests.conformance.agents.deepflow import AgentOptions, SampleAgent
from tests.integration.gateway.carriers import Station, station
from tests.integration.gateway.conftest import Aggregator

TENANT = "default"
AGENT_ID = "df-10-0-0-7-aa-bb-cc-dd-ee-07"


class Field:
    """A gateway that admits strangers, the agents that came, and what was reported of their commands."""

    def __init__(self, bus: Bus, gateway: Station, aggregator: Aggregator) -> None:
        self.bus = bus
        self.gateway = gateway
        self.aggregator = aggregator
        self.agents: list[SampleAgent] = []
        self._numbers = count(1)

    def agent(self, **options: object) -> SampleAgent:
        """One that has not called yet."""
        assert self.gateway.plain_address is not None
        agent = SampleAgent(self.gateway.plain_address, AgentOptions(**options))  # type: ignore[arg-type]
        self.agents.append(agent)
        return agent

    async def connected(self, **options: object) -> SampleAgent:
        return await self.agent(**options).connect()

    async def link(self, agent_id: str = AGENT_ID) -> tuple[LinkRecord, int]:
        """The newest record of the agent's link, and its revision."""
        entry = await self.gateway.ctx.registry.links.get(link_key(TENANT, agent_id))
        assert entry is not None
        return entry.value, entry.revision

    async def order(
        self,
        command_type: str,
        payload: object = None,
        *,
        agent_id: str = AGENT_ID,
        timeout_ms: int = 600_000,
    ) -> str:
        """What a dispatcher does; the id of the command."""
        command_id = f"c{next(self._numbers)}"
        _, revision = await self.link(agent_id)
        epoch = Epoch(self.gateway.ctx.registry.links.incarnation, revision)
        spec = CommandSpec(
            command_type=command_type, payload=json.dumps(payload or {}).encode(), grace_ms=100
        )
        orders = (GatewayOrder(command_id, agent_id, 1, epoch, timeout_ms),)
        await self.bus.request(
            subjects.order(self.gateway.gateway_id),
            codec.encode(GatewayOrders(tenant=TENANT, spec=spec, orders=orders)),
        )
        return command_id

    async def run(self, ident: str, **params: str) -> str:
        return await self.order("catalogue", {"ident": ident, "params": params})

    async def terminate(self, command_id: str) -> None:
        request = GatewayTerminate(tenant=TENANT, items=(TerminateItem(command_id, AGENT_ID, 1, 100),))
        await self.bus.request(subjects.control(self.gateway.gateway_id), codec.encode(request))

    async def result(self, command_id: str) -> Result:
        def results(reports: list[Report]) -> list[Result]:
            return [one for one in reports if isinstance(one, Result) and one.command_id == command_id]

        await self.aggregator.wait(lambda reports: bool(results(reports)))
        [result] = results(self.aggregator.reports)
        return result

    async def output(self, command_id: str) -> bytes:
        subject = subjects.output(TENANT, None, command_id, 1, "stdout")
        read = self.bus.read(FEED, [subject], follow=False)
        return b"".join([message.body async for messages in read for message in messages])

    async def ended(self) -> LinkRecord:
        """The newest record of the link, once it says how the link ended."""

        async def over() -> bool:
            return (await self.link())[0].ended_at_ms is not None

        await eventually(over)
        return (await self.link())[0]


@asynccontextmanager
async def deepflow_field(bus: Bus, aggregator: Aggregator, directory: Path) -> AsyncIterator[Field]:
    """Strangers are admitted. Its agents hang up at the end."""
    async with station(bus, Carrier.GRPC, directory, admit_dialects=True) as gateway:
        field = Field(bus, gateway, aggregator)
        yield field
        for agent in field.agents:
            await agent.close()
