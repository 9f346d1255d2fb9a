"""The full output of a command, replayed from the feed: bytes of one stream, or one JSON object per stored chunk.

Owns offsets and ranges; nothing is held but the chunk being sent. Called by routes/output.py.
"""

import base64
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

import msgspec

from quarterdeck.api.errors import OutputTrimmed
from quarterdeck.contracts import subjects
from quarterdeck.contracts.limits import MAX_MESSAGE_BYTES
from quarterdeck.contracts.output import OFFSET_HEADER, TIME_HEADER, OutputStream
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus, StoredMessage
from quarterdeck.core.store import CommandView

_BATCH: Final = 4
"""Chunks given out at once: 1 MiB at most, whatever the log's length."""
_PULL_BYTES: Final = MAX_MESSAGE_BYTES + 64 * 1024
"""Read ahead of a slow client: two of these at most. Must hold the largest message, headers included."""


class Extent(NamedTuple):
    """What is stored of one stream now: bytes `first` … `end` - 1, the last of them in message `last_sequence`."""

    first: int
    end: int
    last_sequence: int


class ChunkLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the NDJSON answer. Either `data` (base64) or `text`."""

    stream: str
    attempt: int
    offset: int
    length: int
    at_ms: int
    data: str | None = None
    text: str | None = None


class OutputLog:
    """The log of one attempt of one command."""

    def __init__(self, bus: Bus, view: CommandView, attempt: int) -> None:
        self._bus = bus
        self._view = view
        self._attempt = attempt

    def _subject(self, stream: OutputStream) -> str:
        view = self._view
        return subjects.output(view.tenant, view.batch_id, view.command_id, self._attempt, stream)

    async def extent(self, stream: OutputStream, from_offset: int) -> Extent:
        """Raises OutputTrimmed when bytes from `from_offset` on are gone, Unavailable."""
        last = await self._bus.last_message(FEED, self._subject(stream))
        if last is None:
            told_bytes = self._told_bytes(stream)
            if from_offset < told_bytes:
                raise OutputTrimmed(from_offset, told_bytes)
            return Extent(told_bytes, told_bytes, 0)
        end = offset_of(last) + len(last.body)
        first = offset_of(last)
        async with aclosing(self._bus.read(FEED, [self._subject(stream)], follow=False, batch=1)) as reading:
            async for messages in reading:
                first = offset_of(messages[0])
                break
        if from_offset < first:
            raise OutputTrimmed(from_offset, first)
        return Extent(first, end, last.sequence)

    def _told_bytes(self, stream: OutputStream) -> int:
        """How much was stored once, by what gateways reported. Of earlier attempts nothing is known."""
        view = self._view
        if self._attempt != view.attempt:
            return 0
        return (view.stdout if stream is OutputStream.STDOUT else view.stderr).length

    async def read(self, stream: OutputStream, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Bytes `start` … `stop` - 1, in pieces as stored. Ends early only if the log was trimmed meanwhile."""
        if start >= stop:
            return
        position = start
        reading = self._bus.read(
            FEED, [self._subject(stream)], follow=False, batch=_BATCH, pull_bytes=_PULL_BYTES
        )
        async with aclosing(reading):
            async for messages in reading:
                pieces = []
                for message in messages:
                    offset = offset_of(message)
                    end = offset + len(message.body)
                    if end <= position or position == stop:
                        continue
                    if offset > position:
                        return
                    pieces.append(message.body[position - offset : stop - offset])
                    position = min(end, stop)
                if pieces:
                    yield b"".join(pieces)
                if position == stop:
                    return

    async def lines(
        self, streams: Sequence[OutputStream], *, offset: int, as_text: bool
    ) -> AsyncGenerator[bytes, None]:
        """All stored chunks of `streams` as NDJSON, in the order in which they were stored; none before `offset`."""
        filters = [self._subject(stream) for stream in streams]
        reading = self._bus.read(FEED, filters, follow=False, batch=_BATCH, pull_bytes=_PULL_BYTES)
        async with aclosing(reading):
            async for messages in reading:
                lines = [
                    _line(message, as_text=as_text)
                    for message in messages
                    if offset_of(message) + len(message.body) > offset
                ]
                if lines:
                    yield b"\n".join(lines) + b"\n"


def offset_of(message: StoredMessage) -> int:
    """Of the chunk's first byte in its stream."""
    return int(message.headers[OFFSET_HEADER])


def _line(message: StoredMessage, *, as_text: bool) -> bytes:
    subject = subjects.parse_output(message.subject)
    text = _text(message.body) if as_text else None
    return msgspec.json.encode(
        ChunkLine(
            stream=subject.stream,
            attempt=subject.attempt,
            offset=offset_of(message),
            length=len(message.body),
            at_ms=int(message.headers.get(TIME_HEADER) or message.at_ms),
            text=text,
            data=base64.b64encode(message.body).decode() if text is None else None,
        )
    )


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
