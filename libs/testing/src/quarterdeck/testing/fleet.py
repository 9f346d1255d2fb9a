"""A fleet of simulated agents in one process: thousands of real gRPC links, for load without thousands of processes.

Owns enrolment in bulk (straight into the registry, one key for all), the shared connections, and heartbeats. What an
agent does is in `simulated_agent`. Called by the benchmarks, and by tests that need many targets.
"""

import asyncio
from collections.abc import Sequence

import msgspec
import structlog

from quarterdeck.agent.carriers.grpc import GrpcChannel
from quarterdeck.agent.errors import ConnectionLost
from quarterdeck.agent.settings import ServerAddress
from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.core.registry import Registry
from quarterdeck.core.registry.keys import agent_key
from quarterdeck.testing.simulated_agent import COMMAND_TYPES, Identity, Refused, SimulatedAgent
from quarterdeck.wire.identity import AgentKey

log = structlog.get_logger()


class FleetSettings(msgspec.Struct, frozen=True, kw_only=True):
    server: ServerAddress
    """A gRPC gateway."""
    ca_pem: bytes
    size: int
    tenant: str
    prefix: str = "sim"
    """Agent ids are `<prefix>-0` and so on."""
    links_per_channel: int = 100
    """Links that share a TLS connection; 1: each its own, as real agents have."""
    heartbeat_interval_s: float = 15.0
    opening_at_once: int = 64

    @property
    def agent_ids(self) -> list[str]:
        return [f"{self.prefix}-{number}" for number in range(self.size)]


class Fleet:
    """Made by `open`. All agents prove the same key: the gateway's work is the same, ours is less."""

    def __init__(self, settings: FleetSettings, key: AgentKey) -> None:
        self._settings = settings
        self.agents: Sequence[SimulatedAgent] = [
            SimulatedAgent(Identity(settings.tenant, agent_id, key)) for agent_id in settings.agent_ids
        ]
        self._channels = [
            GrpcChannel(settings.server, settings.ca_pem)
            for _ in range(-(-settings.size // settings.links_per_channel))
        ]
        self._serving: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, settings: FleetSettings, registry: Registry) -> "Fleet":
        """Enrols all agents and opens their links. Raises Refused, ConnectionLost, Unavailable."""
        key = AgentKey.generate()
        await registry.agents.put_many(
            [
                (agent_key(settings.tenant, agent_id), _record(settings, agent_id, key))
                for agent_id in settings.agent_ids
            ]
        )
        fleet = cls(settings, key)
        try:
            await fleet._open_links()
        except BaseException:
            await fleet.close()
            raise
        return fleet

    @property
    def commands(self) -> int:
        """Orders that came, over all agents."""
        return sum(agent.commands for agent in self.agents)

    async def close(self) -> None:
        """Cut all links."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def _open_links(self) -> None:
        turns = asyncio.Semaphore(self._settings.opening_at_once)
        async with asyncio.TaskGroup() as opening:
            for number, agent in enumerate(self.agents):
                channel = self._channels[number // self._settings.links_per_channel]
                opening.create_task(self._open_link(agent, channel, turns))
        self._serving += [asyncio.create_task(self._serve(agent)) for agent in self.agents]
        self._serving.append(asyncio.create_task(self._heartbeats(), name="fleet.heartbeats"))

    async def _open_link(self, agent: SimulatedAgent, channel: GrpcChannel, turns: asyncio.Semaphore) -> None:
        async with turns:
            await agent.open(await channel.open_link())

    async def _serve(self, agent: SimulatedAgent) -> None:
        try:
            await agent.serve()
        except (ConnectionLost, Refused) as end:
            log.error("fleet.link_ended", agent_id=agent.identity.agent_id, cause=str(end))

    async def _heartbeats(self) -> None:
        """Evenly over the interval, as agents that came at different times would."""
        pause_s = self._settings.heartbeat_interval_s / max(len(self.agents), 1)
        while True:
            for agent in self.agents:
                await asyncio.sleep(pause_s)
                try:
                    await agent.heartbeat()
                except ConnectionLost:
                    pass  # `_serve` says so


def _record(settings: FleetSettings, agent_id: str, key: AgentKey) -> AgentRecord:
    """As the gateway would write it after this agent's Hello, so that no Hello writes it again."""
    return AgentRecord(
        tenant=settings.tenant,
        agent_id=agent_id,
        public_key=key.public_key,
        name=agent_id,
        capabilities=COMMAND_TYPES,
        enrolled_at_ms=1,
    )
