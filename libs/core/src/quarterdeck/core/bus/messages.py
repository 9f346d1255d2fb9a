"""Values that go in and out of the bus, and the JetStream header names around them.

No I/O. Header and reply-subject formats: nats-server, ADR-13 (pull), ADR-15 (metadata), docs "JetStream headers".
"""

from typing import Final, NamedTuple

import msgspec

Headers = dict[str, str]

MSG_ID: Final = "Nats-Msg-Id"
EXPECTED_LAST_SUBJECT_SEQUENCE: Final = "Nats-Expected-Last-Subject-Sequence"
STATUS: Final = "Status"
DESCRIPTION: Final = "Description"
PENDING_MESSAGES: Final = "Nats-Pending-Messages"
ERROR_CODE: Final = "Qd-Error"
"""Ours: a responder's answer that is an error, by its stable code."""

NO_RESPONDERS: Final = "503"
ACK_PREFIX: Final = "$JS.ACK."


class Outgoing(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message to publish."""

    subject: str
    body: bytes
    msg_id: str | None = None
    """JetStream's dedupe key. None: the publisher makes one up, so that its own retries store nothing twice."""
    headers: Headers | None = None
    expected_last_subject_sequence: int | None = None
    """Fence: refuse when the subject's last message has another sequence. 0: the subject must be empty. The server
    looks at it before it looks at `msg_id`, so a retry may be refused because its first try was stored: read the last
    message, never retry blindly."""


class Ack(msgspec.Struct, frozen=True):
    """JetStream has stored the message. `duplicate`: it had been stored before, under the same msg_id."""

    stream: str
    sequence: int
    duplicate: bool = False


class Incoming(msgspec.Struct, frozen=True):
    """One message handed to a consumer. `delivered` counts from 1; `reply` is the subject that acks go to."""

    subject: str
    body: bytes
    headers: Headers
    sequence: int
    delivered: int
    reply: str


class StoredMessage(msgspec.Struct, frozen=True):
    """One message as the stream holds it. `at_ms`: when it was stored, server's clock."""

    subject: str
    body: bytes
    headers: Headers
    sequence: int
    at_ms: int


class StreamFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`created_ms` tells one life of a stream from the next. An empty stream has last_sequence ≥ first_sequence - 1."""

    name: str
    first_sequence: int
    last_sequence: int
    created_ms: int
    messages: int
    bytes: int


class DeliveryFacts(NamedTuple):
    """What the reply subject of a delivered message says."""

    delivered: int
    stream_sequence: int
    consumer_sequence: int
    at_ms: int
    pending: int


_V1_TOKENS: Final = 9
"""`$JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<ns>.<pending>`; v2 has domain and account hash first."""


def parse_ack_reply(reply: str) -> DeliveryFacts:
    """Raises ValueError when `reply` is no JetStream ack subject."""
    tokens = reply.split(".")
    at = 4 if len(tokens) == _V1_TOKENS else 6
    delivered, stream_sequence, consumer_sequence, at_ns, pending = map(int, tokens[at : at + 5])
    return DeliveryFacts(delivered, stream_sequence, consumer_sequence, at_ns // 1_000_000, pending)


def stream_of(reply: str) -> str:
    """The stream in a JetStream ack subject."""
    tokens = reply.split(".")
    return tokens[2] if len(tokens) == _V1_TOKENS else tokens[4]
