"""One agent of a simulated fleet: a real link over a real carrier, and an executor that does nothing, quickly.

Speaks the native protocol from Hello on. Keeps no journal and repeats nothing, so it is for gateways that stay up.
Made by `fleet`, which owns connections and heartbeats.

    command_type   what happens
    noop           succeeds at once
    emit           payload {"chunks": n, "bytes": m}: writes n chunks of m bytes to stdout, each after the one before
                   was acknowledged, so that each is a message of its own in the feed; then succeeds
    hang           starts, and ends only when terminated
"""

import asyncio
import hashlib
import itertools
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from quarterdeck.agent.ports import Connection
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.identity import AgentKey

COMMAND_TYPES: Final = ("emit", "hang", "noop")


class Identity(NamedTuple):
    tenant: str
    agent_id: str
    key: AgentKey


class Refused(Exception):
    """The gateway opened no link."""


class _EmitPayload(msgspec.Struct):
    chunks: int
    bytes: int


class _Emission:
    """The output of one `emit` command that is under way."""

    def __init__(self, chunks: int, chunk: bytes) -> None:
        self.chunks_left = chunks
        self.chunk = chunk
        self.offset = 0
        self.digest = hashlib.sha256()


class SimulatedAgent:
    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.commands = 0
        """Orders that came."""
        self.stalled = False
        """Once set, nothing more is read from the link."""
        self.quiet = False
        """While set, `emit` commands start but write nothing; `speak` ends it."""
        self._connection: Connection | None = None
        self._sending = asyncio.Lock()
        self._report_seqs: Iterator[int] = itertools.count(1)
        self._emissions: dict[tuple[str, int], _Emission] = {}

    async def open(self, connection: Connection) -> None:
        """Proves the key; returns when the gateway said Welcome. Raises Refused, ConnectionLost."""
        self._connection = connection
        challenge = (await self._next_messages())[0].challenge
        identity = self.identity
        hello = pb.Hello(
            agent_id=identity.agent_id,
            tenant=identity.tenant,
            signature=identity.key.prove_hello(challenge.nonce, identity.agent_id),
            capabilities=COMMAND_TYPES,
        )
        await self._send([pb.AgentMessage(hello=hello)])
        first = (await self._next_messages())[0]
        if first.WhichOneof("body") != "welcome":
            raise Refused(f"{identity.agent_id}: {first.goodbye.reason} {first.goodbye.message}")

    async def serve(self) -> None:
        """Until the link ends. Raises ConnectionLost, Refused."""
        while not self.stalled:
            answers: list[pb.AgentMessage] = []
            for message in await self._next_messages():
                answers += self._answer(message)
            if answers:
                await self._send(answers)

    async def speak(self) -> None:
        """Let `emit` commands write, those that wait and those to come. Raises ConnectionLost."""
        self.quiet = False
        messages = [
            message
            for (command_id, attempt), emission in list(self._emissions.items())
            if emission.offset == 0
            for message in self._emit(command_id, attempt, emission)
        ]
        if messages:
            await self._send(messages)

    async def heartbeat(self) -> None:
        """Raises ConnectionLost."""
        await self._send([pb.AgentMessage(heartbeat=pb.Heartbeat(at_ms=_now_ms()))])

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    def _answer(self, message: pb.GatewayMessage) -> list[pb.AgentMessage]:
        match message.WhichOneof("body"):
            case "order":
                return self._execute(message.order)
            case "output_ack":
                return self._go_on(message.output_ack)
            case "terminate":
                return self._terminate(message.terminate)
            case "goodbye":
                raise Refused(f"{self.identity.agent_id}: {message.goodbye.reason}")
            case _:
                return []

    def _execute(self, order: pb.Order) -> list[pb.AgentMessage]:
        self.commands += 1
        spec = pb.CommandSpec.FromString(order.spec)
        answers = self._begin(order)
        if spec.command_type == "hang":
            return answers
        if spec.command_type == "emit":
            payload = msgspec.json.decode(spec.payload, type=_EmitPayload)
            emission = _Emission(payload.chunks, b"." * (payload.bytes - 1) + b"\n")
            self._emissions[order.command_id, order.attempt] = emission
            return (
                answers if self.quiet else [*answers, *self._emit(order.command_id, order.attempt, emission)]
            )
        return [*answers, self._result(order.command_id, order.attempt)]

    def _begin(self, order: pb.Order) -> list[pb.AgentMessage]:
        command_id, attempt, at_ms = order.command_id, order.attempt, _now_ms()
        accepted = pb.Accepted(
            report_seq=next(self._report_seqs), command_id=command_id, attempt=attempt, at_ms=at_ms
        )
        started = pb.Started(
            report_seq=next(self._report_seqs), command_id=command_id, attempt=attempt, at_ms=at_ms
        )
        return [pb.AgentMessage(accepted=accepted), pb.AgentMessage(started=started)]

    def _go_on(self, ack: pb.OutputAck) -> list[pb.AgentMessage]:
        emission = self._emissions.get((ack.command_id, ack.attempt))
        if emission is None or ack.offset < emission.offset:
            return []
        return self._emit(ack.command_id, ack.attempt, emission)

    def _emit(self, command_id: str, attempt: int, emission: _Emission) -> list[pb.AgentMessage]:
        if emission.chunks_left == 0:
            return []
        output = pb.Output(
            command_id=command_id,
            attempt=attempt,
            stream=pb.STDOUT,
            offset=emission.offset,
            chunk=emission.chunk,
            at_ms=_now_ms(),
        )
        emission.chunks_left -= 1
        emission.offset += len(emission.chunk)
        emission.digest.update(emission.chunk)
        messages = [pb.AgentMessage(output=output)]
        if emission.chunks_left == 0:
            end = pb.StreamEnd(length=emission.offset, sha256=emission.digest.digest())
            messages.append(self._result(command_id, attempt, stdout=end))
            del self._emissions[command_id, attempt]
        return messages

    def _terminate(self, order: pb.Terminate) -> list[pb.AgentMessage]:
        self._emissions.pop((order.command_id, order.attempt), None)
        ack = pb.TerminateAck(
            report_seq=next(self._report_seqs),
            command_id=order.command_id,
            attempt=order.attempt,
            at_ms=_now_ms(),
        )
        return [
            pb.AgentMessage(terminate_ack=ack),
            self._result(order.command_id, order.attempt, pb.TERMINATED),
        ]

    def _result(
        self,
        command_id: str,
        attempt: int,
        end: "pb.End.ValueType" = pb.SUCCEEDED,
        *,
        stdout: pb.StreamEnd | None = None,
    ) -> pb.AgentMessage:
        at_ms = _now_ms()
        result = pb.Result(
            report_seq=next(self._report_seqs),
            command_id=command_id,
            attempt=attempt,
            started_at_ms=at_ms,
            completed_at_ms=at_ms,
            end=end,
            stdout=stdout,
        )
        return pb.AgentMessage(result=result)

    async def _next_messages(self) -> list[pb.GatewayMessage]:
        assert self._connection is not None
        raw = await self._connection.receive()
        if raw is None:
            raise Refused(f"{self.identity.agent_id}: the gateway closed the link")
        return list(pb.GatewayFrame.FromString(raw).messages)

    async def _send(self, messages: list[pb.AgentMessage]) -> None:
        assert self._connection is not None
        async with self._sending:
            await self._connection.send(pb.AgentFrame(messages=messages).SerializeToString())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
