"""How a watcher sees the feed: SSE frames or NDJSON lines; for WebSockets see socket_messages.py. Pure.

The bytes are shared by all watchers of a variant.

An event's body is already JSON and is passed on as it is. Output is base64, or text where all of a chunk is valid
UTF-8: a chunk that ends inside a character stays base64, so that a frame never depends on the one before it.
"""

import base64
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from quarterdeck.broadcaster.handlers import socket_messages
from quarterdeck.contracts import subjects
from quarterdeck.contracts.output import AGENT_HEADER, OFFSET_HEADER
from quarterdeck.core.bus import StoredMessage

OUTPUT: Final = "output"
END: Final = "end"


class Format(StrEnum):
    SSE = "sse"
    NDJSON = "ndjson"
    SOCKET = "socket"
    """Lines of socket_messages.py."""


class Variant(NamedTuple):
    """All that makes two watchers of a scope see different bytes."""

    format: Format
    incarnation: int
    text: bool = False
    output: bool = True


class OutputFrame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Either `data` (base64) or `text`."""

    command_id: str
    agent_id: str
    attempt: int
    stream: str
    offset: int
    length: int
    data: str | None = None
    text: str | None = None


def encode(messages: Iterable[StoredMessage], variant: Variant) -> bytes:
    """All of `messages` that the variant shows, in their order; empty when it shows none."""
    if variant.format is Format.SOCKET:
        return socket_messages.encode(messages, variant.incarnation)
    frames = []
    for message in messages:
        if subjects.is_output(message.subject):
            if variant.output:
                body = _output(message, as_text=variant.text)
                frames.append(frame(variant, OUTPUT, body, message.sequence))
        else:
            frames.append(frame(variant, _entity(message), _one_line(message.body), message.sequence))
    return b"".join(frames)


def frame(variant: Variant, event: str, body: bytes, sequence: int | None = None) -> bytes:
    """One event. `body`: JSON on one line; without `sequence` it has no id and moves no watcher's position."""
    position = b"" if sequence is None else b"%d-%d" % (variant.incarnation, sequence)
    if variant.format is Format.SSE:
        id_line = b"id: %b\n" % position if position else b""
        return b"%bevent: %b\ndata: %b\n\n" % (id_line, event.encode(), body)
    id_member = b'"id":"%b",' % position if position else b""
    return b'{%b"event":"%b","data":%b}\n' % (id_member, event.encode(), body)


def comment(variant: Variant, text: str) -> bytes:
    """Something that moves nobody: a comment, or an empty line where there are none."""
    return b": %b\n\n" % text.encode() if variant.format is Format.SSE else b"\n"


def retry(variant: Variant, ms: int) -> bytes:
    """How long a client is to wait before it comes back."""
    return b"retry: %d\n\n" % ms if variant.format is Format.SSE else b""


def _entity(message: StoredMessage) -> str:
    return subjects.parse_event(message.subject).entity


def _one_line(body: bytes) -> bytes:
    """JSON has no line breaks but between its tokens."""
    return body.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in body or b"\r" in body else body


def _output(message: StoredMessage, *, as_text: bool) -> bytes:
    subject = subjects.parse_output(message.subject)
    text = _text(message.body) if as_text else None
    return msgspec.json.encode(
        OutputFrame(
            command_id=subject.command_id,
            agent_id=message.headers.get(AGENT_HEADER, ""),
            attempt=subject.attempt,
            stream=subject.stream,
            offset=int(message.headers.get(OFFSET_HEADER, "0")),
            length=len(message.body),
            text=text,
            data=base64.b64encode(message.body).decode() if text is None else None,
        )
    )


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
