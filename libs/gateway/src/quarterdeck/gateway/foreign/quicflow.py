"""The dialect `quicflow`: clients that execute command types of their own, a QUIC stream per command and heartbeat.

Owns the first PING, the heartbeats, and what each answer means for a command; the messages themselves are taken apart
in `wire.quicflow`, and the connection's frames are packed `StreamFrame`s. Made by the QUIC gateway.

A client says neither that it has a command nor that it started it: both are taken to be so once the order is written.
It answers as its kind does, and every way is good: an ACK on the command's stream or on one of its own, or a RESPONSE
with the ACK inside. The event `command.callback` tells the same once more; it ends a command that has no answer yet.
"""

from typing import Final

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.agents import Dialect as DialectName
from quarterdeck.contracts.errors import DecodeError, InvalidInput, LinkRefused
from quarterdeck.contracts.identities import client_identity
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.states import CommandState
from quarterdeck.core import metrics
from quarterdeck.core.clock import Clock
from quarterdeck.gateway.connection import Connection, ConnectionLost
from quarterdeck.gateway.foreign.admission import Admission
from quarterdeck.gateway.foreign.command import ForeignCommand
from quarterdeck.gateway.foreign.dialect import Desk
from quarterdeck.gateway.foreign.quicflow_answer import (
    Answer,
    answer_of_ack,
    answer_of_callback,
    command_of_message,
    message_id,
)
from quarterdeck.wire import quicflow
from quarterdeck.wire.agent_v1 import agent_pb2 as native
from quarterdeck.wire.backbone_v1 import backbone_pb2 as pb
from quarterdeck.wire.codes import ResultReason
from quarterdeck.wire.quicflow_streams import CLIENT_STREAM, SERVER_STREAM, STREAM_STEP, StreamFrame

_MAX_RUNNING: Final = 64
"""Clients let a server have 100 streams at a time (quic-go's default); an order beyond them would wait as written."""
_NOT_CARRIED: Final = frozenset({"shell", "exec", "script", "list_commands", "list_namespaces"})
"""What our own agents do by themselves. All other types may have a handler there: a client does not say which."""
_MAY_STILL_RUN: Final = "the protocol has no stop: the agent may still run it"


class QuicflowDialect:
    name = DialectName.QUICFLOW

    def __init__(self, admission: Admission, clock: Clock) -> None:
        self._admission = admission
        self._clock = clock

    async def open(self, connection: Connection) -> "QuicflowConversation":
        """The first PING. Its PONG follows when the link stands. Raises LinkRefused, DecodeError, ConnectionLost."""
        packed = await connection.receive()
        if packed is None:
            raise ConnectionLost("closed before the first PING")
        received = StreamFrame.unpack(packed)
        frame = quicflow.read_frame(received.frame)
        if frame.type != pb.FRAME_TYPE_PING:
            raise LinkRefused(LinkEnd.PROTOCOL, "the first frame is a PING")
        try:
            client_id = client_identity(quicflow.read_ping(frame).client_id)
        except InvalidInput as error:
            raise LinkRefused(LinkEnd.PROTOCOL, error.message) from None
        record = await self._admission.known(self.name, client_id, peer=connection.peer)
        return QuicflowConversation(record, client_id, _Wire(connection, self._clock), received.stream_id)


class _Wire:
    """Frames to the client, each on the stream where it belongs."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._next_stream_id = SERVER_STREAM

    def new_stream(self) -> int:
        stream_id = self._next_stream_id
        self._next_stream_id += STREAM_STEP
        return stream_id

    async def pong(self, stream_id: int) -> None:
        """Raises ConnectionLost; so do the others."""
        await self._last(stream_id, quicflow.pong(self._clock.now_ms()))

    async def ack(self, stream_id: int, answer: pb.AckMessage) -> None:
        await self._last(stream_id, quicflow.ack(answer, self._clock.now_ms()))

    async def order(self, stream_id: int, msg_id: str, client_id: str, spec: native.CommandSpec) -> None:
        at_ms = self._clock.now_ms()
        message = quicflow.command(msg_id, client_id, spec.command_type, spec.payload, at_ms)
        await self._last(stream_id, quicflow.data(message))

    async def stop_reading(self, stream_id: int) -> None:
        await self._connection.send(StreamFrame(stream_id, stop=True).pack())

    async def end(self, stream_id: int) -> None:
        """Nothing is said on this stream."""
        await self._connection.send(StreamFrame(stream_id, fin=True).pack())

    async def _last(self, stream_id: int, frame: bytes) -> None:
        """One frame on each stream, then FIN: clients read to the end before they look."""
        await self._connection.send(StreamFrame(stream_id, frame, fin=True).pack())


class QuicflowConversation:
    max_running: int | None = _MAX_RUNNING

    def __init__(self, record: AgentRecord, client_id: str, wire: _Wire, ping_stream_id: int) -> None:
        self.record = record
        self._client_id = client_id
        self._wire = wire
        self._ping_stream_id = ping_stream_id
        self._msg_ids: dict[int, str] = {}
        """Of the commands that run, by their streams."""
        self._desk: Desk

    def refusal(self, spec: native.CommandSpec, guest: str) -> str | None:
        if guest:
            return "a quicflow client has no guests"
        if spec.command_type in _NOT_CARRIED:
            return f"a quicflow client has no {spec.command_type}, only handlers of its own"
        return None

    def bind(self, desk: Desk) -> None:
        self._desk = desk

    async def welcome(self) -> None:
        await self._wire.pong(self._ping_stream_id)

    async def write_order(self, command: ForeignCommand) -> None:
        stream_id = self._wire.new_stream()
        command.wire_id = stream_id
        msg_id = self._msg_ids[stream_id] = message_id(command.command_id, command.attempt)
        await self._wire.order(stream_id, msg_id, self._client_id, command.spec)
        self._desk.started(command)

    async def write_terminate(self, command: ForeignCommand) -> None:
        self._desk.abandon(command, _MAY_STILL_RUN)
        await self._close_stream(command)

    async def take(self, frame: bytes) -> None:
        received = StreamFrame.unpack(frame)
        read = quicflow.read_frame(received.frame)
        match read.type:
            case pb.FRAME_TYPE_PING:
                if quicflow.read_ping(read).client_id != self._client_id:
                    raise LinkRefused(LinkEnd.PROTOCOL, "a PING of another client")
                self._desk.heartbeat()
                await self._wire.pong(received.stream_id)
            case pb.FRAME_TYPE_ACK:
                await self._take_answer(answer_of_ack(quicflow.read_ack(read)), received.stream_id)
                await self._end_unanswered(received.stream_id)
            case pb.FRAME_TYPE_DATA:
                await self._take_message(quicflow.read_data(read), received.stream_id)
            case _:
                self._desk.fenced("a frame of a type that no client sends")
                await self._end_unanswered(received.stream_id)

    async def goodbye(self, reason: str) -> None:
        """Said by the close of the connection alone."""

    # ---- What the client says

    async def _take_message(self, message: pb.DataMessage, stream_id: int) -> None:
        match message.type:
            case pb.MESSAGE_TYPE_RESPONSE:
                await self._take_response(message, stream_id)
                await self._end_unanswered(stream_id)
            case pb.MESSAGE_TYPE_EVENT:
                await self._take_event(message, stream_id)
            case _:
                self._desk.fenced("a message that a server does not serve")
                await self._acknowledge(message, stream_id, pb.ACK_STATUS_FAILURE, "not served here")

    async def _take_response(self, message: pb.DataMessage, stream_id: int) -> None:
        try:
            answer = answer_of_ack(quicflow.read_response(message))
        except DecodeError as error:
            # The frame around it was whole: the link goes on, and the command it names has an end that nobody can read.
            answer = Answer(
                message.msg_id, CommandState.OUTCOME_UNKNOWN, ResultReason.PROTOCOL, error=error.message
            )
        await self._take_answer(answer, stream_id)

    async def _take_answer(self, answer: Answer, stream_id: int) -> None:
        command = self._find(answer.msg_id or self._msg_ids.get(stream_id, ""), stream_id)
        if command is None:
            self._desk.fenced("an answer to a command that does not run here")
            return
        self._desk.finished(
            command, answer.end, reason=answer.reason, error=answer.error, result=answer.result
        )
        await self._close_stream(command)

    def _find(self, msg_id: str, stream_id: int) -> ForeignCommand | None:
        named = command_of_message(msg_id)
        command = None if named is None else self._desk.find(named.command_id)
        if command is None or named is None or command.attempt != named.attempt:
            return None
        is_of_server = stream_id % STREAM_STEP == SERVER_STREAM
        return None if is_of_server and stream_id != command.wire_id else command

    async def _take_event(self, message: pb.DataMessage, stream_id: int) -> None:
        try:
            event = quicflow.read_command(message)
            is_callback = event.command_type == quicflow.COMMAND_CALLBACK
            callback = quicflow.read_callback(event) if is_callback else None
        except DecodeError as error:
            self._desk.fenced("an event that cannot be read")
            await self._acknowledge(message, stream_id, pb.ACK_STATUS_FAILURE, error.message)
            return
        metrics.DIALECT_EVENTS.labels(self.record.dialect, "callback" if callback else "other").inc()
        await self._acknowledge(message, stream_id, pb.ACK_STATUS_SUCCESS)
        command = None if callback is None else self._find(callback.callback_id, stream_id)
        if callback is not None and command is not None:
            await self._take_answer(answer_of_callback(callback), stream_id)

    async def _acknowledge(
        self, message: pb.DataMessage, stream_id: int, status: pb.AckStatus.ValueType, error: str = ""
    ) -> None:
        if message.wait_ack:
            await self._wire.ack(stream_id, pb.AckMessage(msg_id=message.msg_id, status=status, error=error))
        else:
            await self._end_unanswered(stream_id)

    async def _end_unanswered(self, stream_id: int) -> None:
        """A client may open one stream more for each that ended: our half must end without an answer, too."""
        if stream_id % STREAM_STEP == CLIENT_STREAM:
            await self._wire.end(stream_id)

    async def _close_stream(self, command: ForeignCommand) -> None:
        """A client may leave its half open; there would be one more of them with each command."""
        if isinstance(command.wire_id, int):
            self._msg_ids.pop(command.wire_id, None)
            await self._wire.stop_reading(command.wire_id)
