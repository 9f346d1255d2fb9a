"""An agent played by a test: it says exactly what it is told to, and keeps what it hears until it is asked for."""

import asyncio
from collections import deque
from typing import Protocol, Self

from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.identity import AgentKey


class Wire(Protocol):
    async def send(self, frame: bytes) -> None: ...
    async def receive(self) -> bytes | None: ...


class LinkClosed(Exception):
    """The gateway ended the link while the test waited for a message."""


class Peer:
    """The agent's end of one link. `wire`: any carrier."""

    def __init__(self, wire: Wire, key: AgentKey, agent_id: str, tenant: str = "acme") -> None:
        self.wire = wire
        self.key = key
        self.agent_id = agent_id
        self.tenant = tenant
        self.epoch = pb.Epoch()
        self.frames = 0
        self._heard: deque[pb.GatewayMessage] = deque()
        self._report_seq = 0

    async def say(self, *messages: pb.AgentMessage) -> None:
        """One frame."""
        await self.wire.send(pb.AgentFrame(messages=messages).SerializeToString())

    async def hear(self, *kinds: str, timeout_s: float = 5.0) -> pb.GatewayMessage:
        """The oldest message of one of `kinds` that was not asked for yet; others wait. Raises LinkClosed."""
        async with asyncio.timeout(timeout_s):
            while True:
                for message in self._heard:
                    if message.WhichOneof("body") in kinds:
                        self._heard.remove(message)
                        return message
                await self._read()

    def heard(self, kind: str) -> list[pb.GatewayMessage]:
        """What already arrived of `kind`."""
        return [message for message in self._heard if message.WhichOneof("body") == kind]

    async def hear_end(self) -> str:
        """Wait for the end of the link; the reason that Goodbye gave, or empty."""
        reason = ""
        try:
            reason = (await self.hear("goodbye")).goodbye.reason
            async with asyncio.timeout(5):
                while True:
                    await self._read()
        except LinkClosed:
            pass
        return reason

    async def open(
        self, *, join_secret: str | None = None, hello: pb.Hello | None = None, nonce: bytes | None = None
    ) -> Self:
        """The whole opening. `hello`: members beyond the proof; `nonce`: sign another one than we were given."""
        challenge = (await self.hear("challenge")).challenge
        if join_secret is not None:
            await self.enrol(join_secret, challenge.nonce)
            self.tenant = (await self.hear("enrolled")).enrolled.tenant
        await self.greet(nonce or challenge.nonce, hello)
        self.epoch = (await self.hear("welcome")).welcome.epoch
        return self

    async def enrol(self, join_secret: str, nonce: bytes) -> None:
        enrol = pb.Enrol(
            join_secret=join_secret,
            agent_id=self.agent_id,
            name=f"{self.agent_id}.example",
            public_key=self.key.public_key,
            signature=self.key.prove_enrol(nonce, self.agent_id),
        )
        await self.say(pb.AgentMessage(enrol=enrol))

    async def greet(self, nonce: bytes, hello: pb.Hello | None = None) -> None:
        greeting = pb.Hello()
        if hello is not None:
            greeting.CopyFrom(hello)
        greeting.agent_id = self.agent_id
        greeting.tenant = self.tenant
        greeting.signature = self.key.prove_hello(nonce, self.agent_id)
        await self.say(pb.AgentMessage(hello=greeting))

    def next_seq(self) -> int:
        self._report_seq += 1
        return self._report_seq

    def accepted(self, order: pb.Order) -> pb.AgentMessage:
        report = pb.Accepted(
            report_seq=self.next_seq(), command_id=order.command_id, attempt=order.attempt, at_ms=1
        )
        return pb.AgentMessage(accepted=report)

    def output(
        self, order: pb.Order, offset: int, chunk: bytes, stream: "pb.Stream.ValueType" = pb.STDOUT
    ) -> pb.AgentMessage:
        output = pb.Output(
            command_id=order.command_id,
            attempt=order.attempt,
            stream=stream,
            offset=offset,
            chunk=chunk,
            at_ms=2,
        )
        return pb.AgentMessage(output=output)

    def result(self, order: pb.Order, stdout: pb.StreamEnd | None = None) -> pb.AgentMessage:
        result = pb.Result(
            report_seq=self.next_seq(),
            command_id=order.command_id,
            attempt=order.attempt,
            completed_at_ms=3,
            end=pb.SUCCEEDED,
            exit_code=0,
            stdout=stdout,
        )
        return pb.AgentMessage(result=result)

    async def _read(self) -> None:
        raw = await self.wire.receive()
        if raw is None:
            raise LinkClosed
        self.frames += 1
        self._heard.extend(pb.GatewayFrame.FromString(raw).messages)
