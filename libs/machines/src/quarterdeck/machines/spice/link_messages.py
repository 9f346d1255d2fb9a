"""What goes over a channel while it links: who we are, what both sides can do, and the ticket. Does no I/O.

    client  header, LinkMess: the session, the type of channel, capabilities
    server  header, LinkReply: an error or none, an RSA key, capabilities
    client  AUTH_SPICE, the password sealed with that key
    server  a result

Source: spice-protocol 0.14.4, spice/protocol.h: SpiceLinkHeader, SpiceLinkMess, SpiceLinkReply.
"""

import struct
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

from quarterdeck.machines.spice.messages import ChannelType, MalformedMessage

HEADER: Final = struct.Struct("<4sIII")
"""Magic, major version, minor version, bytes that follow."""
RESULT: Final = struct.Struct("<I")
"""A LinkError."""

_MAGIC: Final = b"REDQ"
_MAJOR: Final = 2
_MINOR: Final = 2
_LINK: Final = struct.Struct("<IBBIII")
"""Session, channel type, channel number, words of common and of channel capabilities, where these begin."""
_REPLY: Final = struct.Struct("<I162sIII")
"""Error, key, words of common and of channel capabilities, where these begin."""
_WORD: Final = struct.Struct("<I")
_MAX_REPLY_BYTES: Final = 4096
"""A reply has 178 bytes and a few words of capabilities."""
_AUTH_SPICE: Final = 1
"""The mechanism: a sealed password."""


class LinkError(IntEnum):
    """Why a server does not link."""

    OK = 0
    ERROR = 1
    INVALID_MAGIC = 2
    INVALID_DATA = 3
    VERSION_MISMATCH = 4
    NEED_SECURED = 5
    NEED_UNSECURED = 6
    PERMISSION_DENIED = 7
    BAD_CONNECTION_ID = 8
    CHANNEL_NOT_AVAILABLE = 9


class Capability(IntFlag):
    """Common to all channels."""

    AUTH_SELECTION = 1 << 0
    AUTH_SPICE = 1 << 1
    AUTH_SASL = 1 << 2
    MINI_HEADER = 1 << 3


NEEDED: Final = Capability.AUTH_SELECTION | Capability.AUTH_SPICE | Capability.MINI_HEADER
"""What we say, and what a server must say: every one since 0.10, unless it was set up for SASL."""


class LinkReply(NamedTuple):
    """What a server answered."""

    error: int
    """A LinkError, or any other number."""
    public_key: bytes
    """DER, SubjectPublicKeyInfo; zeros beside an error."""
    capabilities: Capability


def request(channel_type: ChannelType, session_id: int) -> bytes:
    """The first channel of its type. `session_id`: 0 for a main channel, which begins a session."""
    body = _LINK.pack(session_id, channel_type, 0, 1, 0, _LINK.size) + _WORD.pack(NEEDED)
    return HEADER.pack(_MAGIC, _MAJOR, _MINOR, len(body)) + body


def reply_size_bytes(header: bytes) -> int:
    """What follows a server's header. Raises MalformedMessage: no SPICE server, another version, or too much."""
    magic, major, minor, size_bytes = HEADER.unpack(header)
    if magic != _MAGIC:
        raise MalformedMessage("no SPICE server answered")
    if major != _MAJOR:
        raise MalformedMessage(f"SPICE {major}.{minor}, where {_MAJOR}.{_MINOR} was asked for")
    if not _REPLY.size <= size_bytes <= _MAX_REPLY_BYTES:
        raise MalformedMessage(f"a link reply of {size_bytes} bytes")
    return int(size_bytes)


def reply(body: bytes) -> LinkReply:
    """`body`: as long as reply_size_bytes said. Raises MalformedMessage."""
    error, public_key, common_words, _, offset = _REPLY.unpack_from(body)
    if not common_words:
        return LinkReply(error, public_key, Capability(0))
    if offset + _WORD.size > len(body):
        raise MalformedMessage("a link reply with its capabilities outside")
    (first,) = _WORD.unpack_from(body, offset)
    return LinkReply(error, public_key, Capability(first) & (NEEDED | Capability.AUTH_SASL))


def ticket(sealed: bytes) -> bytes:
    """The choice of mechanism, and the sealed password."""
    return _WORD.pack(_AUTH_SPICE) + sealed


def result(packed: bytes) -> int:
    """A LinkError, or any other number. `packed`: as long as RESULT."""
    (error,) = RESULT.unpack(packed)
    return int(error)
