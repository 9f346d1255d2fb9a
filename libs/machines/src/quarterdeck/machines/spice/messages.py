"""What goes over a channel once it is linked: the messages that we know, and where one ends and the next begins.

Does no I/O. Both sides said MINI_HEADER while they linked, so a message is six bytes of header and its body; all
numbers are little-endian and nothing is aligned. Messages that are not named here are left unread.
Source: spice-protocol 0.14.4, spice/enums.h and spice/protocol.h; bodies: spice-common, spice.proto.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from quarterdeck.contracts.errors import DecodeError

MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""Of a body. The largest that a server sends on the channels that we open is the bandwidth ping, of 256,012 bytes."""

_HEADER: Final = struct.Struct("<HI")
_U32: Final = struct.Struct("<I")
_SET_ACK: Final = struct.Struct("<II")
_DISCONNECTING: Final = struct.Struct("<QI")
_CHANNEL: Final = struct.Struct("<BB")
_PING_HEAD_BYTES: Final = 12
"""Of a ping: its number and the server's time. What follows them only measures the wire."""

_RELEASED: Final = 0x80
"""The bit of set 1 that tells that a key went up."""


class ChannelType(IntEnum):
    """Each has a connection of its own."""

    MAIN = 1
    INPUTS = 3


class FromServer(IntEnum):
    """On any channel below 100; above, a number means something else on each channel."""

    SET_ACK = 3
    PING = 4
    INPUTS_INIT = 101
    MAIN_INIT = 103
    MAIN_CHANNELS_LIST = 104


class ToServer(IntEnum):
    """As FromServer."""

    ACK_SYNC = 1
    ACK = 2
    PONG = 3
    DISCONNECTING = 6
    INPUTS_KEY_DOWN = 101
    INPUTS_KEY_UP = 102
    MAIN_ATTACH_CHANNELS = 104


class MalformedMessage(DecodeError):
    """Bytes that no SPICE server sends."""

    code = "malformed_spice_message"


class Message(NamedTuple):
    """One message of the server."""

    number: int
    """One of FromServer, or any other."""
    body: bytes


class MessageReader:
    """Cuts what a server sends, fed in pieces of any size, into messages.

    Holds at most one unfinished message, of up to MAX_MESSAGE_BYTES, and the piece it was last fed.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def buffered_bytes(self) -> int:
        """Bytes of a message that is not complete yet."""
        return len(self._buffer)

    def feed(self, piece: bytes) -> list[Message]:
        """The messages that `piece` completed, in order.

        Raises MalformedMessage as soon as a header announces too much, before any of that body is kept.
        """
        self._buffer += piece
        start = 0
        messages: list[Message] = []
        while len(self._buffer) >= start + _HEADER.size:
            number, size_bytes = _HEADER.unpack_from(self._buffer, start)
            if size_bytes > MAX_MESSAGE_BYTES:
                self._buffer.clear()
                raise MalformedMessage(f"a message of {size_bytes} bytes")
            end = start + _HEADER.size + size_bytes
            if len(self._buffer) < end:
                break
            messages.append(Message(number, bytes(self._buffer[start + _HEADER.size : end])))
            start = end
        del self._buffer[:start]
        return messages


# ---- To the server: whole messages ----


def ack() -> bytes:
    """A window's worth of messages came."""
    return _pack(ToServer.ACK)


def ack_sync(generation: int) -> bytes:
    """The new window is taken."""
    return _pack(ToServer.ACK_SYNC, _U32.pack(generation))


def pong(ping: bytes) -> bytes:
    """`ping`: its body, of which the number and the time go back. Raises MalformedMessage."""
    if len(ping) < _PING_HEAD_BYTES:
        raise MalformedMessage(f"a ping of {len(ping)} bytes")
    return _pack(ToServer.PONG, ping[:_PING_HEAD_BYTES])


def attach_channels() -> bytes:
    """Asks for the list of channels."""
    return _pack(ToServer.MAIN_ATTACH_CHANNELS)


def disconnecting() -> bytes:
    """We leave, in order: time 0, no error."""
    return _pack(ToServer.DISCONNECTING, _DISCONNECTING.pack(0, 0))


def key_down(scancode: Sequence[int]) -> bytes:
    """`scancode`: one to four bytes of set 1, as keys.scancode gives them."""
    return _pack(ToServer.INPUTS_KEY_DOWN, bytes(scancode).ljust(_U32.size, b"\0"))


def key_up(scancode: Sequence[int]) -> bytes:
    """`scancode`: as the key went down."""
    *prefix, code = scancode
    return _pack(ToServer.INPUTS_KEY_UP, bytes([*prefix, code | _RELEASED]).ljust(_U32.size, b"\0"))


def _pack(number: ToServer, body: bytes = b"") -> bytes:
    return _HEADER.pack(number, len(body)) + body


# ---- From the server: bodies ----


def ack_window(set_ack: bytes) -> tuple[int, int]:
    """(generation, messages after each of which the server wants an ACK; 0: none). Raises MalformedMessage."""
    generation, window = _unpack(_SET_ACK, set_ack)
    return generation, window


def session_id(main_init: bytes) -> int:
    """What further channels link to. Raises MalformedMessage."""
    (identity,) = _unpack(_U32, main_init)
    return identity


def channel_types(channels_list: bytes) -> frozenset[int]:
    """Of the channels that the server has: a ChannelType, or any other number. Raises MalformedMessage."""
    (count,) = _unpack(_U32, channels_list)
    listed = channels_list[_U32.size : _U32.size + count * _CHANNEL.size]
    if len(listed) < count * _CHANNEL.size:
        raise MalformedMessage(f"a list of {count} channels in {len(channels_list)} bytes")
    return frozenset(channel_type for channel_type, _ in _CHANNEL.iter_unpack(listed))


def _unpack(layout: struct.Struct, body: bytes) -> tuple[int, ...]:
    if len(body) < layout.size:
        raise MalformedMessage(f"{len(body)} bytes where {layout.size} were due")
    return layout.unpack_from(body)
