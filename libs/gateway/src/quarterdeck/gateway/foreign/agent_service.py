"""The dialect `agent_service`: agents that run shell commands for a VPS server, one gRPC call each.

Owns the handshake, the check of every message's secret, and what each message means for a command; the messages
themselves are taken apart in `agent_service_frames`. Made by the gRPC gateway, spoken through the seam in `dialect`.

Agents differ in what they say. `agent_accepted` is ours, and the first output or the result stands for it where it does
not come. There is no word for the start either: the first output shows it. An agent may keep the timeout or leave it to
the gateway. Members for other purposes (metrics, terminals, containers) are signs of life and nothing else.
"""

import asyncio
import contextlib
import hmac
from typing import Final

import msgspec

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.agents import Dialect as DialectName
from quarterdeck.contracts.errors import InvalidInput, LinkRefused
from quarterdeck.contracts.identities import vps_identity
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.clock import Clock
from quarterdeck.gateway.connection import Connection, ConnectionLost
from quarterdeck.gateway.foreign import agent_service_frames as frames
from quarterdeck.gateway.foreign.admission import Admission
from quarterdeck.gateway.foreign.command import ForeignCommand
from quarterdeck.gateway.foreign.dialect import Desk
from quarterdeck.gateway.messages import possible_time_ms
from quarterdeck.wire.agent_service import agent_service_pb2 as pb
from quarterdeck.wire.agent_v1 import agent_pb2 as native
from quarterdeck.wire.codes import ResultReason

METHOD: Final = "/agent_service.AgentCommunicationService/EstablishCommunicationStream"
"""Where agents of this dialect call."""
_UNTRUE: Final = frozenset({LinkEnd.UNAUTHENTICATED, LinkEnd.REVOKED})
"""Ends that the protocol has a word for: the ack that takes back the handshake's."""


class AgentServiceDialect:
    name = DialectName.AGENT_SERVICE

    def __init__(self, admission: Admission, clock: Clock) -> None:
        self._admission = admission
        self._clock = clock

    async def open(self, connection: Connection) -> "AgentServiceConversation":
        """The handshake, up to the proof; its ack follows when the link stands. Raises LinkRefused, ConnectionLost."""
        wire = _Wire(connection)
        try:
            return await self._proved(connection, wire)
        except LinkRefused as refusal:
            with contextlib.suppress(ConnectionLost):  # it left without asking
                await wire.refuse(refusal.message)
            raise

    async def _proved(self, connection: Connection, wire: "_Wire") -> "AgentServiceConversation":
        frame = await connection.receive()
        if frame is None:
            raise ConnectionLost("closed before the handshake")
        message = frames.decode(frame)
        if message.WhichOneof("payload") != "agent_handshake":
            raise LinkRefused(LinkEnd.PROTOCOL, "the first message is the handshake")
        try:
            identity = vps_identity(message.vps_db_id)
        except InvalidInput as error:
            raise LinkRefused(LinkEnd.UNAUTHENTICATED, error.message) from None
        secret = message.agent_secret.encode()
        record = await self._admission.known(self.name, identity, peer=connection.peer, secret=secret)
        said = msgspec.structs.replace(
            record,
            facts=frames.facts_of(message.agent_handshake),
            capabilities=frames.CAPABILITIES,
            version=frames.version_of(message.agent_handshake),
        )
        proof = _Proof(message.vps_db_id, secret)
        return AgentServiceConversation(await self._admission.remember(said), proof, wire, self._clock)


class _Proof:
    """What each message of a link carries, and must: the handshake's id and secret."""

    def __init__(self, vps_db_id: int, secret: bytes) -> None:
        self._vps_db_id = vps_db_id
        self._secret = secret

    def check(self, message: pb.MessageToServer) -> None:
        """Raises LinkRefused(unauthenticated)."""
        genuine = hmac.compare_digest(message.agent_secret.encode(), self._secret)
        if not genuine or message.vps_db_id != self._vps_db_id:
            raise LinkRefused(
                LinkEnd.UNAUTHENTICATED, "a message with another id or secret than the handshake"
            )


class _Wire:
    """Messages to the agent, numbered from 1. The link's sender and its reader may both have something to say."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()
        self._sent = 0

    async def send(self, message: pb.MessageToAgent) -> None:
        """Raises ConnectionLost."""
        async with self._turn:
            self._sent += 1
            message.server_message_id = self._sent
            await self._connection.send(message.SerializeToString())

    async def refuse(self, text: str) -> None:
        """Raises ConnectionLost."""
        ack = pb.ServerHandshakeAck(authentication_successful=False, error_message=text)
        await self.send(pb.MessageToAgent(server_handshake_ack=ack))


class _OnWire(msgspec.Struct):
    """What the dialect remembers of a command: kept in its `wire_id`."""

    written_s: float
    asked_again: bool = False
    """The agent did not find it, and was asked for its end once more."""


class AgentServiceConversation:
    max_running: int | None = None

    def __init__(self, record: AgentRecord, proof: _Proof, wire: _Wire, clock: Clock) -> None:
        self.record = record
        self._proof = proof
        self._wire = wire
        self._clock = clock
        self._desk: Desk

    def refusal(self, spec: native.CommandSpec, guest: str) -> str | None:
        try:
            frames.content_of(spec, guest, self.record.facts)
        except frames.NotCarried as reason:
            return str(reason)
        return None

    def bind(self, desk: Desk) -> None:
        self._desk = desk

    async def welcome(self) -> None:
        ack = pb.ServerHandshakeAck(authentication_successful=True, server_time_unix_ms=self._clock.now_ms())
        await self._wire.send(pb.MessageToAgent(server_handshake_ack=ack))

    async def write_order(self, command: ForeignCommand) -> None:
        content = frames.content_of(command.spec, command.order.guest or "", self.record.facts)
        request = pb.BatchAgentCommandRequest(
            command_id=command.command_id,
            type=content.kind,
            content=content.text,
            working_directory=command.spec.working_directory,
            timeout_seconds=frames.timeout_seconds(command.timeout_ms),
        )
        command.wire_id = _OnWire(self._clock.monotonic_s())
        await self._wire.send(pb.MessageToAgent(batch_agent_command_request=request))

    async def write_terminate(self, command: ForeignCommand) -> None:
        request = pb.BatchTerminateCommandRequest(command_id=command.command_id)
        await self._wire.send(pb.MessageToAgent(batch_terminate_command_request=request))

    async def take(self, frame: bytes) -> None:
        message = frames.decode(frame)
        self._proof.check(message)
        match message.WhichOneof("payload"):
            case "batch_command_output_stream":
                self._take_output(message.batch_command_output_stream)
            case "batch_command_result":
                await self._take_result(message.batch_command_result)
            case "agent_accepted":
                command = self._find(message.agent_accepted.command_id, "acceptance")
                if command is not None:
                    self._desk.accepted(command)
            case "agent_handshake":
                raise LinkRefused(LinkEnd.PROTOCOL, "a second handshake")
            case _:
                self._desk.heartbeat()  # of use to others, or of a newer protocol

    async def goodbye(self, reason: str) -> None:
        """Said of a secret that does not hold any more. An agent that may come back hears nothing: it comes back."""
        if reason in _UNTRUE:
            await self._wire.refuse(reason)

    # ---- What the agent says of commands

    def _find(self, command_id: str, what: str) -> ForeignCommand | None:
        command = self._desk.find(command_id)
        if command is None:
            self._desk.fenced(f"{what} for a command that does not run here")
        return command

    def _take_output(self, output: pb.BatchCommandOutputStream) -> None:
        command = self._find(output.command_id, "output")
        stream = frames.STREAM_OF.get(output.stream_type)
        if command is None:
            return
        if stream is None:
            self._desk.fenced("output of no stream")
            return
        at_ms = possible_time_ms(output.timestamp) or None
        self._desk.output(command, stream, output.chunk, at_ms)

    async def _take_result(self, result: pb.BatchCommandResult) -> None:
        command = self._find(result.command_id, "a result")
        end = frames.END_OF.get(result.status)
        if command is None:
            return
        if end is None:
            self._desk.fenced("a result without an end")
            return
        if end is CommandState.FAILED and command.stop_asked and frames.says_not_found(result):
            await self._take_not_found(command, result)
            return
        reason = ""
        if end is CommandState.FAILED and self._overran(command):
            end, reason = CommandState.TIMED_OUT, ResultReason.EXECUTION
        elif end is CommandState.TERMINATED and command.stop is None:
            reason = ResultReason.AGENT_STOPPED
        # 0 is also what an agent without an exit code says, and no failure has it.
        exit_code = result.exit_code if result.exit_code or end is CommandState.SUCCEEDED else None
        self._desk.finished(command, end, reason=reason, error=result.error_message, exit_code=exit_code)

    async def _take_not_found(self, command: ForeignCommand, result: pb.BatchCommandResult) -> None:
        """It was asked to stop what it does not run: not yet, or not any more and the result is behind this answer.

        By the answer to a second request the one or the other has shown. If neither has, nobody knows how it ended.
        """
        on_wire = command.wire_id
        if isinstance(on_wire, _OnWire) and not on_wire.asked_again:
            on_wire.asked_again = True
            await self.write_terminate(command)
            return
        self._desk.finished(
            command,
            CommandState.OUTCOME_UNKNOWN,
            reason=ResultReason.NOT_PROVEN,
            error=result.error_message,
        )

    def _overran(self, command: ForeignCommand) -> bool:
        """An agent that keeps the timeout itself can only say that the command failed."""
        on_wire = command.wire_id
        if not command.timeout_ms or not isinstance(on_wire, _OnWire):
            return False
        return (self._clock.monotonic_s() - on_wire.written_s) * 1000 >= command.timeout_ms
