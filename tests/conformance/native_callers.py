"""Our own agents for the behaviour suite: the real one in this process, and one whose words are the test's."""

import asyncio
from typing import Self

from quarterdeck.agent.carriers.dial import Dialer
from quarterdeck.agent.catalogue import Catalogue, NamedCommand
from quarterdeck.agent.handlers import Handlers
from quarterdeck.agent.ports import Connection
from quarterdeck.agent.runner import run_agent
from quarterdeck.agent.samples import SampleCommands
from quarterdeck.agent.settings import AgentSettings, Role
from quarterdeck.contracts import reports
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.identity import AgentKey
from tests.conformance.callers import NONSENSE, Agent
from tests.conformance.plane import PATIENCE_S, TENANT, Plane
from tests.integration.gateway.peer import LinkClosed, Peer


class _NativeAgent:
    """The real one, in this process."""

    def __init__(self, agent_id: str, running: "asyncio.Task[None]", stopping: asyncio.Event) -> None:
        self.agent_id = agent_id
        self._running = running
        self._stopping = stopping

    async def begun(self, plane: Plane, command_id: str) -> None:
        await plane.report(reports.Started, command_id)

    async def close(self) -> None:
        self._stopping.set()
        await asyncio.wait({self._running})


async def native_agent(plane: Plane, number: int) -> Agent:
    agent_id = f"agent-{number}"
    handlers, stopping = Handlers(), asyncio.Event()
    SampleCommands().register(handlers)
    settings = AgentSettings(
        servers=(plane.gateway.address,),
        data_dir=plane.directory / agent_id,
        agent_id=agent_id,
        join_token=str(await plane.join_token()),
        environment={"PATH": "/usr/bin:/bin"},
        catalogue=Catalogue((NamedCommand(ident="hello", cmd="echo hello"),)),
        stop_grace_s=0.5,
        role=Role.SINGLE,
    )
    running = asyncio.create_task(run_agent(settings, handlers, stopping))
    agent = _NativeAgent(agent_id, running, stopping)
    plane.callers.push_async_callback(agent.close)
    await plane.connected(agent_id)
    return agent


class NativeMute:
    """An agent's end of one link, played by the test."""

    def __init__(self, peer: Peer, wire: Connection) -> None:
        self.agent_id = peer.agent_id
        self.close = wire.close
        self._peer = peer
        self._orders = 0

    @classmethod
    async def connected(cls, plane: Plane, number: int) -> Self:
        wire = await Dialer(plane.gateway.ca_pem)(plane.gateway.address)
        key = AgentKey.load_or_create(plane.directory / f"agent-{number}.key")
        peer = Peer(wire, key, f"agent-{number}", TENANT)
        mute = cls(await peer.open(join_secret=(await plane.join_token()).secret), wire)
        plane.callers.push_async_callback(mute.close)
        return mute

    async def begun(self, plane: Plane, command_id: str) -> None:
        await plane.report(reports.Started, command_id)

    async def ordered(self, count: int) -> int:
        while self._orders < count:
            await self._peer.hear("order", timeout_s=PATIENCE_S)
            self._orders += 1
        return self._orders

    async def say_result(self, command_id: str) -> None:
        await self._peer.say(self._peer.result(pb.Order(command_id=command_id, attempt=1)))

    async def say_nonsense(self) -> None:
        await self._peer.wire.send(NONSENSE)

    async def hung_up(self) -> None:
        try:
            while True:
                await self._peer.hear("nothing that is ever said", timeout_s=PATIENCE_S)
        except LinkClosed:
            pass
