"""What quicflow clients and their server say to each other: built and read. Pure; knows no stream and no link.

The messages are those of `backbone_v1`, the payloads of commands, answers and callbacks are JSON. Everything that comes
from the other end is read here, so that there is one place that can refuse it. Called by the gateway's dialect and by
the client in the Python SDK. Source: the command and callback system's protocol, quic.backbone.v1.
"""

from base64 import b64decode
from typing import Final, TypeVar

import msgspec
from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.message import Message

from quarterdeck.contracts.errors import DecodeError
from quarterdeck.wire.backbone_v1 import backbone_pb2 as pb

_M = TypeVar("_M", bound=Message)

ALPN: Final = "quic-backbone-v1"
"""Names the protocol in the QUIC handshake."""
MAX_FRAME_BYTES: Final = 10 * 1024 * 1024
"""Largest frame on a stream."""
HEARTBEAT_INTERVAL_S: Final = 15.0
"""A client pings this often, on a new stream each time; a server looks for silent clients as often."""
MISSED_HEARTBEATS: Final = 3
"""So many looks in a row without a sign of life, and the connection is closed."""
SERVER_ID: Final = "server"
"""What the server calls itself in `sender_id`."""
COMMAND_CALLBACK: Final = "command.callback"
"""The event that tells a command's outcome once more, besides its answer."""

NO_ERROR: Final = 0
REFUSED: Final = 1
"""QUIC close codes: in order, and for whoever broke a rule or came under a name that is taken."""


NOT_JSON: Final = (ValueError, RecursionError)
"""What decoding hostile JSON raises: msgspec's own errors, those of text that is no UTF-8, of nesting without end."""


class CommandPayload(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a COMMAND, and of an EVENT: what it is, and its parameters."""

    command_type: str
    payload: msgspec.Raw = msgspec.Raw(b"null")


class CommandCallback(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The parameters of the event `command.callback`."""

    callback_id: str
    command_type: str = ""
    success: bool = False
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    duration_ms: float = 0


class _JsonAck(msgspec.Struct, frozen=True, kw_only=True):
    """An AckMessage as JSON: the status by number or by name, the result in base64."""

    msg_id: str = ""
    status: int | str = 0
    result: str | None = None
    error: str | None = None


_command_payloads: Final = msgspec.json.Decoder(CommandPayload)
_callbacks: Final = msgspec.json.Decoder(CommandCallback)
_json_acks: Final = msgspec.json.Decoder(_JsonAck)


# ---- Built ----


def frame(kind: pb.FrameType.ValueType, message: Message, at_ms: int) -> bytes:
    """A frame, without its length."""
    return pb.Frame(type=kind, payload=message.SerializeToString(), timestamp=at_ms).SerializeToString()


def ping(client_id: str, at_ms: int) -> bytes:
    return frame(pb.FRAME_TYPE_PING, pb.PingFrame(client_id=client_id), at_ms)


def pong(at_ms: int) -> bytes:
    return frame(pb.FRAME_TYPE_PONG, pb.PongFrame(server_time=at_ms), at_ms)


def ack(message: pb.AckMessage, at_ms: int) -> bytes:
    return frame(pb.FRAME_TYPE_ACK, message, at_ms)


def data(message: pb.DataMessage) -> bytes:
    return frame(pb.FRAME_TYPE_DATA, message, message.timestamp)


def command(msg_id: str, client_id: str, command_type: str, payload: bytes, at_ms: int) -> pb.DataMessage:
    """An order. `payload`: its parameters as JSON text; empty: none."""
    body = CommandPayload(command_type=command_type, payload=msgspec.Raw(payload or b"null"))
    return pb.DataMessage(
        msg_id=msg_id,
        sender_id=SERVER_ID,
        receiver_id=client_id,
        type=pb.MESSAGE_TYPE_COMMAND,
        payload=msgspec.json.encode(body),
        wait_ack=True,
        timestamp=at_ms,
    )


def response(answer: pb.AckMessage, client_id: str, at_ms: int) -> pb.DataMessage:
    """An answer to a command, as a client's command handler gives it."""
    return pb.DataMessage(
        msg_id=answer.msg_id,
        sender_id=client_id,
        receiver_id=SERVER_ID,
        type=pb.MESSAGE_TYPE_RESPONSE,
        payload=answer.SerializeToString(),
        timestamp=at_ms,
    )


def event(msg_id: str, client_id: str, command_type: str, payload: bytes, at_ms: int) -> pb.DataMessage:
    """What a client tells by itself; nobody waits for an answer. `payload`: as in `command`."""
    body = CommandPayload(command_type=command_type, payload=msgspec.Raw(payload or b"null"))
    return pb.DataMessage(
        msg_id=msg_id,
        sender_id=client_id,
        receiver_id=SERVER_ID,
        type=pb.MESSAGE_TYPE_EVENT,
        payload=msgspec.json.encode(body),
        timestamp=at_ms,
    )


def callback_payload(callback: CommandCallback) -> bytes:
    """The parameters of the event COMMAND_CALLBACK."""
    return msgspec.json.encode(callback)


# ---- Read; each raises DecodeError ----


def read_frame(raw: bytes) -> pb.Frame:
    return _protobuf(pb.Frame, raw, "frame")


def read_ping(read: pb.Frame) -> pb.PingFrame:
    return _protobuf(pb.PingFrame, read.payload, "PING")


def read_data(read: pb.Frame) -> pb.DataMessage:
    return _protobuf(pb.DataMessage, read.payload, "DATA")


def read_ack(read: pb.Frame) -> pb.AckMessage:
    return _protobuf(pb.AckMessage, read.payload, "ACK")


def read_response(message: pb.DataMessage) -> pb.AckMessage:
    """The answer inside a RESPONSE. One that does not name what it answers means the message it came in."""
    # `{` would begin a group in protobuf, which AckMessage has none of: the two cannot be mistaken for each other.
    if message.payload[:1] == b"{":
        answer = _json_answer(message.payload)
    else:
        answer = _protobuf(pb.AckMessage, message.payload, "RESPONSE")
    if not answer.msg_id:
        answer.msg_id = message.msg_id
    return answer


def read_command(message: pb.DataMessage) -> CommandPayload:
    """What a COMMAND or an EVENT is about."""
    try:
        return _command_payloads.decode(message.payload)
    except NOT_JSON as error:
        raise DecodeError(f"no command payload: {error}") from error


def read_callback(event: CommandPayload) -> CommandCallback:
    try:
        return _callbacks.decode(event.payload)
    except NOT_JSON as error:
        raise DecodeError(f"no callback: {error}") from error


def _json_answer(text: bytes) -> pb.AckMessage:
    try:
        said = _json_acks.decode(text)
        result = b64decode(said.result or "", validate=True)
    except NOT_JSON as error:
        raise DecodeError(f"no answer: {error}") from error
    return pb.AckMessage(
        msg_id=said.msg_id, status=_status(said.status), result=result, error=said.error or ""
    )


def _status(said: int | str) -> pb.AckStatus.ValueType:
    """A status that we do not know is none."""
    statuses = dict(pb.AckStatus.items())
    if isinstance(said, str):
        name = said.upper().removeprefix("ACK_STATUS_")
        return statuses.get(f"ACK_STATUS_{name}", pb.ACK_STATUS_UNSPECIFIED)
    return next((known for known in statuses.values() if known == said), pb.ACK_STATUS_UNSPECIFIED)


def _protobuf(kind: type[_M], raw: bytes, what: str) -> _M:
    try:
        return kind.FromString(raw)
    except ProtobufDecodeError:
        raise DecodeError(f"a {what} of {len(raw)} bytes that is none") from None
