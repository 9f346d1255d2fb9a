"""The journal's records and their bytes: sans-IO, so that every kind of damage can be tried in memory.

    record = length u32 | crc32 u32 | MessagePack of one struct below     (big endian; the crc covers length and body)

A file is read up to the last record that is whole and intact; what follows is cut. The checksum covers the length
too, so that a tail of zeros, as a power cut may leave it, is no row of empty records.

Each record of a command says all that the phases before it said: only the latest one of each command matters. Fields
are only ever added, with defaults; a kind of record that we do not know was written by a newer agent (RecordUnknown).
"""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

import msgspec

from quarterdeck.agent.executor.journal.entries import CommandKey, Span
from quarterdeck.contracts.errors import QuarterdeckError

HEADER: Final = struct.Struct(">II")
MAX_RECORD_BYTES: Final = 8 * 1024 * 1024
"""Twice the largest frame, so that no order and no result is too large; a longer one is damage."""


class RecordUnknown(QuarterdeckError):
    """An intact record that this version cannot read: going on would mean forgetting what it says."""

    code = "journal_record_unknown"


class Opened(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """An executor began to write here."""

    run: int
    """Counts the executors of this journal, from 1: report numbers of different ones never meet."""


class EpochSeen(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The highest epoch of a link so far."""

    incarnation: int
    revision: int
    clock_offset_ms: int
    """What the server's clock was ahead of ours."""


class Received(msgspec.Struct, frozen=True, array_like=True, tag=3):
    key: CommandKey
    order: bytes
    """pb.Order, serialised: a command that waits goes on waiting after a crash."""


class Starting(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """It is about to start: from here on nobody may start it again."""

    key: CommandKey
    batch_id: str
    boot_id: str
    guest: str = ""
    """Where it runs; empty: on this very host."""


class Running(msgspec.Struct, frozen=True, array_like=True, tag=5):
    key: CommandKey
    batch_id: str
    boot_id: str
    pid: int
    """0: it runs inside the executor, or in a guest."""
    started_ticks: int
    """Since boot. With the pid it names one process for ever."""
    guest: str = ""


class StreamRest(msgspec.Struct, frozen=True, array_like=True):
    """The unacknowledged end of one stream when its command ended."""

    acked: int
    """Offset; everything below was stored."""
    length: int
    """Of the whole stream."""
    content: bytes = b""
    """From `acked` on; the spool has what follows, if anything does."""
    spool_at: int = 0
    """Where in its file that begins."""


class Exited(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """It is over, one way or another, and this is what the gateway must hear."""

    key: CommandKey
    batch_id: str
    report_seq: int
    message: bytes
    """AgentMessage with the Result or Rejected, serialised."""
    stdout: StreamRest | None = None
    stderr: StreamRest | None = None


class Reported(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """The gateway has the end of these; a start of them would be the second."""

    keys: list[CommandKey]


class Cancelled(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """These must never start."""

    keys: list[CommandKey]


Record = Opened | EpochSeen | Received | Starting | Running | Exited | Reported | Cancelled

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Record)


class Placed(NamedTuple):
    record: Record
    span: Span


def encode(record: Record) -> bytes:
    return frame(_encoder.encode(record))


def decode(framed: bytes) -> Record:
    """The record that `encode` gave."""
    record: Record = _decoder.decode(framed[HEADER.size :])
    return record


def frame(body: bytes) -> bytes:
    """`body` behind its length and checksum."""
    length = len(body)
    return HEADER.pack(length, checksum(length, body)) + body


def checksum(length: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(length.to_bytes(4, "big")))


def read_bodies(file: BinaryIO) -> Iterator[tuple[Span, bytes]]:
    """The longest intact prefix of framed bodies, from the file's position 0."""
    start = 0
    while len(header := file.read(HEADER.size)) == HEADER.size:
        length, crc = HEADER.unpack(header)
        if not 0 < length <= MAX_RECORD_BYTES:
            return
        body = file.read(length)
        if len(body) < length or checksum(length, body) != crc:
            return
        end = start + HEADER.size + length
        yield Span(start, end), body
        start = end


def read_records(file: BinaryIO) -> Iterator[Placed]:
    """The longest intact prefix, from position 0. Raises RecordUnknown."""
    for span, body in read_bodies(file):
        try:
            record = _decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise RecordUnknown(f"the journal was written by a newer agent: {error}") from None
        yield Placed(record, span)


def is_torn(tail: bytes, size_bytes: int) -> bool:
    """Whether what follows the intact prefix is a write that was cut off, and not damage to something older.

    `tail`: its first bytes, at least a header if there is one. `size_bytes`: of all of it.
    """
    if size_bytes < HEADER.size or not tail.strip(b"\0"):
        return True
    length: int = HEADER.unpack(tail[: HEADER.size])[0]
    return 0 < length <= MAX_RECORD_BYTES and size_bytes < HEADER.size + length
