"""A gRPC gateway with sample agents of agent_service at it, and what the rest of the plane sees of them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from quarterdeck.contracts import codec, reports, subjects
from quarterdeck.contracts.agents import AgentRecord, Dialect
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.ids import new_id
from quarterdeck.contracts.links import Carrier, Epoch
from quarterdeck.contracts.orders import GatewayOrder, GatewayOrders, GatewayTerminate, TerminateItem
from quarterdeck.contracts.reports import Report
from quarterdeck.contracts.streams import FEED
from quarterdeck.core import metrics
from quarterdeck.core.bus import Bus
from quarterdeck.core.registry import ForeignAgents
from quarterdeck.core.registry.keys import link_key
from tests.conformance.agents.agent_service import AgentOptions, SampleAgent
from tests.integration.gateway.carriers import Station, station
from tests.integration.gateway.conftest import Aggregator

TENANT = "acme"
SECRET = "s3cret"
R = TypeVar("R", bound=Report)


class Field:
    """The gateway, agents at it, and what the rest of the plane sees of them."""

    def __init__(self, gateway: Station, aggregator: Aggregator) -> None:
        self.gateway = gateway
        self.aggregator = aggregator
        self.agents: list[SampleAgent] = []

    async def enrolled(self, vps_db_id: int = 7) -> str:
        """What an operator does before the agent comes; its agent id."""
        agent_id = f"vps-{vps_db_id}"
        record = AgentRecord(
            tenant=TENANT,
            agent_id=agent_id,
            name=f"Server {vps_db_id}",
            aliases={Dialect.AGENT_SERVICE: str(vps_db_id)},
        )
        await ForeignAgents(self.gateway.ctx.registry).register(
            record, hashlib.sha256(SECRET.encode()).digest()
        )
        return agent_id

    def agent(self, vps_db_id: int = 7, **options: Any) -> SampleAgent:
        """An agent that has not called yet. `options`: of AgentOptions."""
        settings = AgentOptions(**{"vps_db_id": vps_db_id, "secret": SECRET, **options})
        address = f"127.0.0.1:{self.gateway.address.port}"
        agent = SampleAgent(address, settings, self.gateway.ca_pem)
        self.agents.append(agent)
        return agent

    async def connected(self, vps_db_id: int = 7, **options: Any) -> SampleAgent:
        await self.enrolled(vps_db_id)
        return await self.agent(vps_db_id, **options).connect()

    async def order(
        self,
        line: str,
        *,
        vps_db_id: int = 7,
        timeout_ms: int = 60_000,
        payload: dict[str, object] | None = None,
        command_type: str = "shell",
        no_output_timeout_ms: int | None = None,
    ) -> str:
        """What a dispatcher does; the command's id."""
        agent_id, command_id = f"vps-{vps_db_id}", new_id()
        registry = self.gateway.ctx.registry
        entry = await registry.links.get(link_key(TENANT, agent_id))
        assert entry is not None
        orders = GatewayOrders(
            tenant=TENANT,
            spec=CommandSpec(
                command_type=command_type,
                payload=msgspec.json.encode(payload or {"command": line}),
                grace_ms=200,
                no_output_timeout_ms=no_output_timeout_ms,
            ),
            orders=(
                GatewayOrder(
                    command_id=command_id,
                    agent_id=agent_id,
                    attempt=1,
                    epoch=Epoch(registry.links.incarnation, entry.revision),
                    timeout_ms=timeout_ms,
                ),
            ),
        )
        await self._ask(subjects.order(self.gateway.gateway_id), orders)
        return command_id

    async def terminate(self, command_id: str, vps_db_id: int = 7) -> None:
        item = TerminateItem(command_id, f"vps-{vps_db_id}", 1, 200)
        await self._ask(
            subjects.control(self.gateway.gateway_id), GatewayTerminate(tenant=TENANT, items=(item,))
        )

    async def report(self, kind: type[R], command_id: str) -> R:
        """The first of its kind, once it is there."""

        def fitting(found: list[Report]) -> list[R]:
            return [each for each in found if isinstance(each, kind) and each.command_id == command_id]

        await self.aggregator.wait(lambda found: bool(fitting(found)))
        return fitting(self.aggregator.reports)[0]

    def kinds(self, command_id: str) -> list[str]:
        """Reports of a command but for its progress, in their order."""
        told = [r for r in self.aggregator.reports if not isinstance(r, reports.Progress)]
        return [type(report).__name__ for report in told if report.command_id == command_id]

    async def stored(self, command_id: str, stream: str = "stdout") -> bytes:
        subject = subjects.output(TENANT, None, command_id, 1, stream)
        bus = self.gateway.ctx.bus
        return b"".join([m.body async for some in bus.read(FEED, [subject], follow=False) for m in some])

    async def _ask(self, subject: str, request: object) -> None:
        await self.gateway.ctx.bus.request(subject, codec.encode(request))


@asynccontextmanager
async def vps_field(bus: Bus, aggregator: Aggregator, directory: Path) -> AsyncIterator[Field]:
    """Agents hang up before the gateway leaves."""
    async with station(bus, Carrier.GRPC, directory) as gateway:
        field = Field(gateway, aggregator)
        yield field
        await asyncio.gather(*(agent.close() for agent in field.agents))


def fenced() -> float:
    """Messages that were fenced so far, on all links of the dialect."""
    return float(metrics.FENCED_MESSAGES.labels("agent_service")._value.get())
