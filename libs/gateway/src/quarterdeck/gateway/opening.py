"""The opening of a link: Challenge → [Enrol → Enrolled →] Hello. Ends with an agent whose key is proved.

Owns the order of these messages and the check of the proof; what enrolment may do is in `enrolment`. The link's record
and the Welcome come after it. Called by the gateway for every new connection, under a time limit.
"""

import secrets
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
from google.protobuf.message import DecodeError as ProtobufDecodeError

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry import Conflict, Entry, Registry
from quarterdeck.core.registry.keys import agent_key
from quarterdeck.core.runtime.tasks import TaskSet
from quarterdeck.gateway.connection import Connection, ConnectionLost
from quarterdeck.gateway.enrolment import Enrolment
from quarterdeck.gateway.messages import check_wire_id, guests_of
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.identity import NONCE_BYTES, hello_proof_valid

_MAX_TEXTS: Final = 256
_MAX_TEXT_CHARS: Final = 1024


class Opened(NamedTuple):
    record: AgentRecord
    hello: pb.Hello


class Opening:
    def __init__(self, registry: Registry, clock: Clock, tasks: TaskSet, gateway_id: str) -> None:
        self._registry = registry
        self._clock = clock
        self._gateway_id = gateway_id
        self._enrolment = Enrolment(registry, clock, tasks)

    async def run(self, connection: Connection) -> Opened:
        """Raises LinkRefused, ConnectionLost, DecodeError, Unavailable."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        challenge = pb.Challenge(nonce=nonce, gateway_id=self._gateway_id)
        await _send(connection, pb.GatewayMessage(challenge=challenge))
        message = await _receive(connection)
        if message.WhichOneof("body") == "enrol":
            enrolled = await self._enrolment.enrol(message.enrol, nonce)
            answer = pb.Enrolled(tenant=enrolled.tenant, agent_id=enrolled.agent_id)
            await _send(connection, pb.GatewayMessage(enrolled=answer))
            message = await _receive(connection)
        if message.WhichOneof("body") != "hello":
            raise LinkRefused(LinkEnd.PROTOCOL, "a link begins with Hello")
        return Opened(await self._known(message.hello, nonce), message.hello)

    async def _known(self, hello: pb.Hello, nonce: bytes) -> AgentRecord:
        """The record of the agent, proved and brought up to date."""
        key = agent_key(check_wire_id(hello.tenant, "tenant"), check_wire_id(hello.agent_id, "agent_id"))
        remembered = self._registry.agents.current.get(key)
        if remembered is not None and _proved(remembered.value, hello, nonce):
            return await self._refresh(key, remembered, hello)
        # Our copy may be a moment old: only the server's answer is a reason to refuse.
        entry = await self._registry.agents.get(key)
        if entry is None or not _proved(entry.value, hello, nonce):
            raise LinkRefused(LinkEnd.UNAUTHENTICATED, "not enrolled, or not with this key")
        return await self._refresh(key, entry, hello)

    async def _refresh(self, key: str, entry: Entry[AgentRecord], hello: pb.Hello) -> AgentRecord:
        """Write what the agent says of itself, but only when it changed: ten thousand agents may come back at once."""
        while True:
            record = entry.value
            if record.revoked:
                raise LinkRefused(LinkEnd.REVOKED, "this agent was revoked")
            said = msgspec.structs.replace(
                record,
                labels={**_texts(hello.labels), **record.bound_labels},
                facts=_texts(hello.facts),
                capabilities=tuple(sorted(hello.capabilities)),
                guests=guests_of(hello.guests),
                version=hello.version[:_MAX_TEXT_CHARS],
            )
            if said == record:
                return record
            said = msgspec.structs.replace(said, last_seen_ms=self._clock.now_ms())
            try:
                await self._registry.agents.update(key, said, entry.revision)
                return said
            except Conflict:
                fresh = await self._registry.agents.get(key)
                if fresh is None:
                    raise LinkRefused(LinkEnd.UNAUTHENTICATED, "not enrolled any more") from None
                entry = fresh


def _proved(record: AgentRecord, hello: pb.Hello, nonce: bytes) -> bool:
    return hello_proof_valid(record.public_key, hello.signature, nonce=nonce, agent_id=record.agent_id)


def _texts(said: Mapping[str, str]) -> dict[str, str]:
    """Labels or facts as we keep them: the registry is no place for an agent's essays."""
    if len(said) > _MAX_TEXTS:
        raise LinkRefused(LinkEnd.PROTOCOL, f"{len(said)} labels or facts")
    return {name[:_MAX_TEXT_CHARS]: text[:_MAX_TEXT_CHARS] for name, text in sorted(said.items())}


async def _send(connection: Connection, message: pb.GatewayMessage) -> None:
    await connection.send(pb.GatewayFrame(messages=[message]).SerializeToString())


async def _receive(connection: Connection) -> pb.AgentMessage:
    """The one message that the agent may send at this point."""
    while True:
        raw = await connection.receive()
        if raw is None:
            raise ConnectionLost("closed during the opening")
        try:
            messages = [
                message
                for message in pb.AgentFrame.FromString(raw).messages
                if message.WhichOneof("body") is not None
            ]
        except ProtobufDecodeError:
            raise LinkRefused(LinkEnd.UNDECODABLE, f"a frame of {len(raw)} bytes") from None
        if len(messages) > 1:
            raise LinkRefused(LinkEnd.PROTOCOL, "more than one message at a time before the Welcome")
        if messages:
            return messages[0]
