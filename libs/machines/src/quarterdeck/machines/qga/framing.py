"""The bytes between us and a guest's agent: requests with an id, replies line by line, the way back to order. Sans-IO.

A channel to a guest outlives its clients: what one client asked, the next one may be answered. So a connection begins
with a sync: a byte that no JSON contains, and a request that is answered with the same byte before its reply. Whatever
comes before that byte was meant for somebody else.

    we:     FF {"execute": "guest-sync-delimited", "arguments": {"id": 7}}
    agent:  ...anything... FF {"return": 7}
"""

from typing import Any, Final

import msgspec

from quarterdeck.machines.qga.structures import Request

DELIMITER: Final = b"\xff"
MAX_REPLY_BYTES: Final = 48 * 1024 * 1024
"""Two full streams of guest-exec-status are 44.8 MB as Base64. Source: GUEST_EXEC_MAX_OUTPUT, QEMU's qga/commands.c."""

MAX_LATE_BYTES: Final = 4 * 1024
"""Of a reply that may be of use although its request was given up."""


class ReplyTooLong(Exception):
    """More than MAX_REPLY_BYTES without an end of line."""


class ReplyError(msgspec.Struct, frozen=True):
    error_class: str = msgspec.field(name="class")
    description: str = msgspec.field(name="desc")


class Reply(msgspec.Struct, frozen=True):
    """One line of the agent. Exactly one of `result` and `error` is there, or it is no reply."""

    id: Any = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="return")
    error: ReplyError | None = None


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Reply)


def encode_request(request: Request, request_id: str | None) -> bytes:
    """One line, which the agent answers with the same id."""
    message: dict[str, object] = {"execute": request.command}
    if request_id is not None:
        message["id"] = request_id
    if request.arguments is not None:
        message["arguments"] = request.arguments
    return _encoder.encode(message) + b"\n"


def encode_sync(token: int) -> bytes:
    """`token`: below 2⁶³. The first byte ends whatever half request an earlier client left there."""
    message = {"execute": "guest-sync-delimited", "arguments": {"id": token}}
    return DELIMITER + _encoder.encode(message) + b"\n"


def decode_reply(line: bytes) -> Reply:
    """Raises ValueError for what is no reply."""
    try:
        reply = _decoder.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(f"not a reply: {error}") from None
    if (reply.error is None) == (reply.result is msgspec.UNSET):
        raise ValueError("not a reply: neither a result nor an error, or both")
    return reply


def answers_sync(line: bytes, token: int) -> bool:
    """Whether this line, the one after a delimiter, is the answer to our own sync."""
    try:
        reply = decode_reply(line)
        return reply.result is not msgspec.UNSET and msgspec.json.decode(reply.result) == token
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return False


class ReplyReader:
    """Cuts a stream of bytes into lines, with bounded memory."""

    def __init__(self, max_line_bytes: int = MAX_REPLY_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._buffer = bytearray()
        self._searched = 0
        """Up to here there is no end of line."""
        self._skipping = False
        self._dropped: list[bytes] = []

    def skip_to_delimiter(self) -> None:
        """Drop everything, what is held and what comes, up to and including the next delimiter."""
        self._skipping = True
        self._skip()

    def feed(self, piece: bytes) -> None:
        self._buffer += piece
        if self._skipping:
            self._skip()

    def next_line(self) -> bytes | None:
        """Without its end. None: feed more. Raises ReplyTooLong."""
        if self._skipping:
            return None
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched > self._max_line_bytes:
                raise ReplyTooLong
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def take_dropped(self) -> list[bytes]:
        """The lines that were dropped since the last call, short ones only: maybe one of them came too late for us."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def _skip(self) -> None:
        delimiter = self._buffer.find(DELIMITER)
        if delimiter >= 0:
            *lines, _ = bytes(self._buffer[:delimiter]).split(b"\n")
            del self._buffer[: delimiter + 1]
            self._skipping = False
        else:
            *lines, unfinished = bytes(self._buffer).split(b"\n")
            self._buffer[:] = unfinished if len(unfinished) <= MAX_LATE_BYTES else b""
        self._searched = 0
        self._dropped += [line for line in lines if len(line) <= MAX_LATE_BYTES]
