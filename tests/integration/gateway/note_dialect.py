"""A protocol of the tests' own, for what foreign links do whatever the protocol: JSON notes over a pipe.

Agent → gateway: {"hello": id}, {"accepted": command}, {"out": command, "text": …}, {"beat": 1},
{"done": command, "end": state, "error": …}.
Gateway → agent: {"welcome": 1}, {"run": command}, {"stop": command}, {"bye": reason}.
"""

import asyncio
import json
from typing import Any

from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.agents import AgentRecord, Dialect
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.orders import (
    GatewayOrder,
    GatewayOrders,
    GatewayTerminate,
    OrderAnswer,
    OrderAnswers,
    TerminateItem,
)
from quarterdeck.contracts.output import OutputStream
from quarterdeck.contracts.states import CommandState
from quarterdeck.gateway.connection import Connection
from quarterdeck.gateway.foreign.command import ForeignCommand
from quarterdeck.gateway.foreign.dialect import Desk
from quarterdeck.gateway.foreign.reception import ForeignReception
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.integration.gateway.conftest import House
from tests.integration.gateway.pipe import PipeEnd, pipe

TENANT = "acme"
_answers: codec.Decoder[OrderAnswers] = codec.Decoder(OrderAnswers)


class NoteDialect:
    name = Dialect.AGENT_SERVICE

    def __init__(self, *, stops: bool = True, max_running: int | None = None) -> None:
        self.stops = stops
        self.max_running = max_running

    async def open(self, connection: Connection) -> "NoteConversation":
        note = json.loads(await connection.receive() or b"{}")
        if "hello" not in note:
            raise LinkRefused(LinkEnd.PROTOCOL, "hello first")
        record = AgentRecord(tenant=TENANT, agent_id=note["hello"], name=note["hello"])
        return NoteConversation(connection, record, self)


class NoteConversation:
    def __init__(self, connection: Connection, record: AgentRecord, dialect: NoteDialect) -> None:
        self.record = record
        self.max_running = dialect.max_running
        self._connection = connection
        self._stops = dialect.stops
        self._desk: Desk

    def refusal(self, spec: pb.CommandSpec, guest: str) -> str | None:
        return None if spec.command_type == "shell" else f"no {spec.command_type} here"

    def bind(self, desk: Desk) -> None:
        self._desk = desk

    async def welcome(self) -> None:
        await self._say(welcome=1)

    async def write_order(self, command: ForeignCommand) -> None:
        await self._say(run=command.command_id)

    async def write_terminate(self, command: ForeignCommand) -> None:
        if self._stops:
            await self._say(stop=command.command_id)
        else:
            self._desk.abandon(command, "agent may still run it")

    async def take(self, frame: bytes) -> None:
        note = json.loads(frame)
        if "beat" in note:
            return self._desk.heartbeat()
        kind = next(iter(note))
        command = self._desk.find(note[kind])
        if command is None:
            self._desk.fenced(f"{kind} of a command that is not here")
        elif kind == "accepted":
            self._desk.accepted(command)
        elif kind == "out":
            self._desk.output(command, OutputStream.STDOUT, note["text"].encode() * note.get("times", 1))
        else:
            self._desk.finished(command, CommandState(note["end"]), error=note.get("error", ""))
        return None

    async def goodbye(self, reason: str) -> None:
        await self._say(bye=reason)

    async def _say(self, **note: Any) -> None:
        await self._connection.send(json.dumps(note).encode())


class NoteAgent:
    """The agent's end."""

    def __init__(self, house: House, agent_id: str, wire: PipeEnd) -> None:
        self.house = house
        self.agent_id = agent_id
        self.wire = wire

    @classmethod
    async def connected(
        cls, house: House, agent_id: str = "n1", dialect: NoteDialect | None = None
    ) -> "NoteAgent":
        ours, theirs = pipe()
        reception = ForeignReception(dialect or NoteDialect())
        house.served.append(asyncio.create_task(house.gateway.serve(ours, reception)))
        agent = cls(house, agent_id, theirs)
        await agent.say(hello=agent_id)
        assert await agent.hear() == {"welcome": 1}
        return agent

    async def say(self, **note: Any) -> None:
        await self.wire.send(json.dumps(note).encode())

    async def hear(self, timeout_s: float = 20) -> dict[str, Any]:
        """The next note; empty at the end."""
        async with asyncio.timeout(timeout_s):
            return dict(json.loads(await self.wire.receive() or b"{}"))

    async def order(
        self, *command_ids: str, command_type: str = "shell", timeout_ms: int = 60_000, **members: Any
    ) -> list[OrderAnswer]:
        """What a dispatcher asks of the gateway that has the link."""
        link = self.house.gateway.links.find(TENANT, self.agent_id)
        assert link is not None and link.epoch is not None
        request = GatewayOrders(
            tenant=TENANT,
            spec=CommandSpec(command_type=command_type, payload=b"{}", grace_ms=100),
            orders=tuple(
                GatewayOrder(command_id, self.agent_id, 1, link.epoch, timeout_ms)
                for command_id in command_ids
            ),
            **members,
        )
        return await self._ask(subjects.order(self.house.settings.gateway_id), request)

    async def terminate(self, command_id: str) -> list[OrderAnswer]:
        item = TerminateItem(command_id, self.agent_id, 1, 100)
        request = GatewayTerminate(tenant=TENANT, items=(item,))
        return await self._ask(subjects.control(self.house.settings.gateway_id), request)

    async def _ask(self, subject: str, request: object) -> list[OrderAnswer]:
        answer = await self.house.bus.request(subject, codec.encode(request))
        return list(_answers.decode(answer).answers)
