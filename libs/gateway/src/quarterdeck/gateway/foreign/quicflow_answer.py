"""What the answer of a quicflow client means for a command. Pure; called by the dialect."""

import re
from base64 import b64encode
from typing import Final, NamedTuple

import msgspec

from quarterdeck.contracts.states import CommandState
from quarterdeck.wire.backbone_v1 import backbone_pb2 as pb
from quarterdeck.wire.codes import ResultReason
from quarterdeck.wire.quicflow import NOT_JSON, CommandCallback

PROMISE_TIMEOUT: Final = "promise timeout"
"""What the field calls a command that took too long."""
_ATTEMPT: Final = re.compile(r"\A[1-9][0-9]{0,3}\Z")


class CommandName(NamedTuple):
    command_id: str
    attempt: int


class Answer(NamedTuple):
    """The end of a command, in our words. `result`: JSON text."""

    msg_id: str
    end: CommandState
    reason: str = ""
    error: str = ""
    result: bytes = b""


def message_id(command_id: str, attempt: int) -> str:
    """The `msg_id` of an order: the command's id.

    A later attempt is told apart: the answer to an earlier one, which a client may still be working at, is not its own.
    """
    return command_id if attempt == 1 else f"{command_id}.{attempt}"


def command_of_message(msg_id: str) -> CommandName | None:
    """What `message_id` made it of; None for what it did not make."""
    command_id, dot, attempt = msg_id.partition(".")
    if not dot:
        return CommandName(command_id, 1)
    return CommandName(command_id, int(attempt)) if _ATTEMPT.match(attempt) else None


def answer_of_ack(ack: pb.AckMessage) -> Answer:
    match ack.status:
        case pb.ACK_STATUS_SUCCESS:
            return Answer(ack.msg_id, CommandState.SUCCEEDED, result=json_text(ack.result))
        case pb.ACK_STATUS_FAILURE:
            return Answer(ack.msg_id, CommandState.FAILED, error=ack.error)
        case pb.ACK_STATUS_TIMEOUT:
            error = ack.error or PROMISE_TIMEOUT
            return Answer(ack.msg_id, CommandState.TIMED_OUT, ResultReason.EXECUTION, error)
        case _:
            text = f"an answer of no status: {ack.error}".rstrip(": ")
            return Answer(ack.msg_id, CommandState.OUTCOME_UNKNOWN, ResultReason.PROTOCOL, text)


def answer_of_callback(callback: CommandCallback) -> Answer:
    if callback.success:
        return Answer(
            callback.callback_id, CommandState.SUCCEEDED, result=json_text(_unless_null(callback.result))
        )
    return Answer(callback.callback_id, CommandState.FAILED, error=callback.error)


def _unless_null(result: msgspec.Raw) -> bytes:
    text = bytes(result)
    return b"" if text == b"null" else text


def json_text(result: bytes) -> bytes:
    """`result` if it is JSON, as the field's results are; else a JSON string of it, in base64 if it is no text."""
    if not result:
        return b""
    try:
        msgspec.json.decode(result)
    except NOT_JSON:
        pass
    else:
        return result
    try:
        return msgspec.json.encode(result.decode())
    except UnicodeDecodeError:
        return msgspec.json.encode(b64encode(result).decode())
