"""One link: from the gateway's Challenge to the end, over one connection.

Owns the opening (enrol, hello, welcome), heartbeats, silence, and the two streams of frames between link and executor.
Frames for the executor pass through unread beyond their kinds. Does not reconnect: that is front.py.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple, NoReturn

import msgspec
import structlog
from google.protobuf.message import DecodeError as ProtobufDecodeError

from quarterdeck.agent.credentials import Credentials, Enrolment
from quarterdeck.agent.errors import ConnectionLost, LinkEnded
from quarterdeck.agent.ports import Connection, ExecutorPort
from quarterdeck.contracts.errors import DecodeError
from quarterdeck.contracts.links import Epoch, LinkEnd
from quarterdeck.core import failpoints
from quarterdeck.core.clock import Clock
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import GoodbyeReason

log = structlog.get_logger()

OPENING_TIMEOUT_S: Final = 10.0
"""From connect to Welcome, all of it."""
SILENCE_S: Final = 60.0
"""A gateway that says nothing for this long, not even to a heartbeat, is gone."""
_GOODBYE_TIMEOUT_S: Final = 1.0

_FOR_THE_FRONT: Final = frozenset({"challenge", "enrolled", "drain", "goodbye", "heartbeat_ack"})
"""Kinds of messages that the executor never sees. (A Challenge reaches it, but from `_open`.)"""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What the front adds to a Hello."""

    version: str
    boot_id: str = ""
    labels: Mapping[str, str] = {}
    facts: Mapping[str, str] = {}
    name: str = ""


class Welcomed(NamedTuple):
    """How the link stands, as Welcome said."""

    epoch: Epoch
    heartbeat_interval_s: float


class Link:
    """Runs once."""

    def __init__(
        self,
        connection: Connection,
        executor: ExecutorPort,
        credentials: Credentials,
        profile: Profile,
        clock: Clock,
        leaving: asyncio.Event,
    ) -> None:
        """`leaving`: once set, the link says Goodbye and ends."""
        self._connection = connection
        self._executor = executor
        self._credentials = credentials
        self._profile = profile
        self._clock = clock
        self._leaving = leaving
        self._sending = asyncio.Lock()
        self._unread: list[pb.GatewayMessage] = []
        """Messages of the last frame that the opening has not come to."""
        self._last_heard_s = clock.monotonic_s()

    async def open(self) -> Welcomed:
        """Enrols when needed, proves the key, and returns when the gateway said Welcome and the executor knows.

        Raises ConnectionLost, ExecutorLost, LinkEnded, DecodeError.
        """
        try:
            async with asyncio.timeout(OPENING_TIMEOUT_S):
                return await self._open()
        except TimeoutError:
            raise ConnectionLost("the gateway did not open the link in time") from None

    async def serve(self, welcomed: Welcomed) -> NoReturn:
        """Passes frames in both directions until the link ends.

        Always raises: ConnectionLost, ExecutorLost, LinkEnded, DecodeError.
        """
        tasks = [
            asyncio.create_task(self._from_gateway(), name="link.from_gateway"),
            asyncio.create_task(self._from_executor(), name="link.from_executor"),
            asyncio.create_task(self._heartbeats(welcomed.heartbeat_interval_s), name="link.heartbeats"),
            asyncio.create_task(self._leave(), name="link.leave"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            raise AssertionError("the tasks of a link end only by raising")
        finally:
            for task in tasks:
                task.cancel()
            # What the others raise while the link falls apart adds nothing to why it ended.
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self, reason: str | None = None) -> None:
        """Closes the connection; `reason`: said in a Goodbye first, if the gateway still listens. Never raises."""
        if reason is not None:
            try:
                await self._say_goodbye(reason)
            except ConnectionLost:
                pass  # it has gone already
        await self._connection.close()

    # ---- Opening

    async def _open(self) -> Welcomed:
        challenge = await self._expect("challenge")
        nonce = challenge.challenge.nonce
        if self._credentials.enrolment is None:
            await self._enrol(nonce)
        hello = await self._executor_hello(challenge)
        highest = Epoch(hello.highest_epoch.incarnation, hello.highest_epoch.revision)
        self._sign(hello, nonce)
        await self._send_message(pb.AgentMessage(hello=hello))
        welcome = await self._expect("welcome")
        epoch = Epoch(welcome.welcome.epoch.incarnation, welcome.welcome.epoch.revision)
        if epoch < highest:
            raise LinkEnded(LinkEnd.PROTOCOL, f"epoch {epoch} is below {highest}, which this agent has seen")
        await self._executor.send(pb.GatewayFrame(messages=[welcome]).SerializeToString())
        await self._pass_on(self._unread)
        return Welcomed(epoch, welcome.welcome.heartbeat_interval_ms / 1000)

    async def _enrol(self, nonce: bytes) -> None:
        credentials = self._credentials
        if credentials.join_secret is None:
            raise LinkEnded(GoodbyeReason.JOIN_TOKEN_INVALID, "not enrolled, and no join token to enrol with")
        await self._send_message(
            pb.AgentMessage(
                enrol=pb.Enrol(
                    join_secret=credentials.join_secret,
                    agent_id=credentials.agent_id,
                    name=self._profile.name or credentials.agent_id,
                    public_key=credentials.key.public_key,
                    signature=credentials.key.prove_enrol(nonce, credentials.agent_id),
                )
            )
        )
        enrolled = (await self._expect("enrolled")).enrolled
        credentials.enrolled(
            Enrolment(tenant=enrolled.tenant, agent_id=enrolled.agent_id, issuer_key=enrolled.issuer_key)
        )
        log.info("agent.enrolled", agent_id=enrolled.agent_id, tenant=enrolled.tenant)

    async def _executor_hello(self, challenge: pb.GatewayMessage) -> pb.Hello:
        """The executor's half of the Hello. Frames before it belong to a link that is gone."""
        await self._executor.send(pb.GatewayFrame(messages=[challenge]).SerializeToString())
        while True:
            frame = pb.AgentFrame.FromString(await self._executor.receive())
            if frame.messages and frame.messages[0].WhichOneof("body") == "hello":
                return frame.messages[0].hello

    def _sign(self, hello: pb.Hello, nonce: bytes) -> None:
        credentials, profile = self._credentials, self._profile
        hello.agent_id = credentials.agent_id
        hello.tenant = credentials.enrolment.tenant if credentials.enrolment else ""
        hello.signature = credentials.key.prove_hello(nonce, credentials.agent_id)
        hello.version, hello.boot_id = profile.version, profile.boot_id
        hello.labels.update(profile.labels)
        hello.facts.update(profile.facts)

    async def _expect(self, kind: str) -> pb.GatewayMessage:
        """The next message, which must be of this kind (or a Goodbye). What follows it in its frame is kept."""
        while not self._unread:
            _, self._unread = await self._receive()
        message = self._unread.pop(0)
        found = message.WhichOneof("body")
        if found == "goodbye":
            raise LinkEnded(message.goodbye.reason, message.goodbye.message)
        if found is None:  # of a newer gateway; empty as far as we can read
            return await self._expect(kind)
        if found != kind:
            raise LinkEnded(LinkEnd.PROTOCOL, f"expected {kind}, got {found}")
        return message

    # ---- Afterwards

    async def _from_gateway(self) -> None:
        while True:
            frame, messages = await self._receive()
            failpoints.reach("front.after_receive")
            if _FOR_THE_FRONT.isdisjoint(message.WhichOneof("body") for message in messages):
                await self._executor.send(frame)
            else:
                await self._pass_on(messages)

    async def _from_executor(self) -> None:
        while True:
            frame = await self._executor.receive()
            failpoints.reach("front.before_send")
            await self._send(frame)

    async def _heartbeats(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            if self._clock.monotonic_s() - self._last_heard_s > SILENCE_S:
                raise ConnectionLost("the gateway fell silent")
            await self._send_message(pb.AgentMessage(heartbeat=pb.Heartbeat(at_ms=self._clock.now_ms())))

    async def _leave(self) -> None:
        await self._leaving.wait()
        await self._say_goodbye(GoodbyeReason.LEAVING)
        raise LinkEnded(GoodbyeReason.LEAVING)

    async def _pass_on(self, messages: list[pb.GatewayMessage]) -> None:
        """A frame that is partly for the front: the executor's part first, since a Goodbye ends everything."""
        ours = [message for message in messages if message.WhichOneof("body") in _FOR_THE_FRONT]
        theirs = [message for message in messages if message.WhichOneof("body") not in _FOR_THE_FRONT]
        if theirs:
            await self._executor.send(pb.GatewayFrame(messages=theirs).SerializeToString())
        for message in ours:
            self._handle(message)

    def _handle(self, message: pb.GatewayMessage) -> None:
        match message.WhichOneof("body"):
            case "goodbye":
                raise LinkEnded(message.goodbye.reason, message.goodbye.message)
            case "drain":
                raise LinkEnded(LinkEnd.DRAINING)
            case _:
                pass  # heartbeat_ack has done its work by being heard

    async def _receive(self) -> tuple[bytes, list[pb.GatewayMessage]]:
        frame = await self._connection.receive()
        if frame is None:
            raise ConnectionLost("the gateway closed the link")
        self._last_heard_s = self._clock.monotonic_s()
        try:
            return frame, list(pb.GatewayFrame.FromString(frame).messages)
        except ProtobufDecodeError as error:
            raise DecodeError("a frame of the gateway does not decode") from error

    async def _say_goodbye(self, reason: str) -> None:
        try:
            async with asyncio.timeout(_GOODBYE_TIMEOUT_S):
                await self._send_message(pb.AgentMessage(goodbye=pb.Goodbye(reason=reason)))
        except TimeoutError:
            pass  # a gateway that takes nothing any more will notice the closed connection

    async def _send_message(self, message: pb.AgentMessage) -> None:
        await self._send(pb.AgentFrame(messages=[message]).SerializeToString())

    async def _send(self, frame: bytes) -> None:
        async with self._sending:
            await self._connection.send(frame)
