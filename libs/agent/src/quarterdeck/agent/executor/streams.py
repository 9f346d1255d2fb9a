"""Output that the gateway has not confirmed: bytes, offsets, digest. Pipes fill it, the outlet empties it.

Offsets count bytes of a stream from 0. For one stream: `acked ≤ sent ≤ length`; the bytes from `acked` on are held, so
that a new link can go on where the last one stopped:

    acked ── in memory, up to RETAINED_BYTES ── on disk (an Overflow), while output is stuck ── late ── length

Whoever fills the buffer asks `has_room` first, which is how a slow gateway makes a child process wait. Beyond a limit
for the whole stream, output is read and thrown away, and counted. Sans-IO, but for what an Overflow does.
"""

import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from quarterdeck.contracts.errors import QuarterdeckError
from quarterdeck.contracts.limits import OUTPUT_CHUNK_BYTES
from quarterdeck.wire.agent_v1 import agent_pb2 as pb

RETAINED_BYTES: Final = 2 * 1024 * 1024
"""Unacknowledged output of one stream in memory: the whole window of a link. At 10 ms to the stored log and back this
still carries 200 MB/s; half of it cost a sixth on a busy machine (measured)."""

_COMPACT_AT_BYTES: Final = 64 * 1024
"""Acknowledged bytes are cut off the front once they are this many."""


class OutputDamaged(QuarterdeckError):
    """Bytes that were put aside cannot be had back."""

    code = "output_damaged"


class Overflow(Protocol):
    """Where a stream puts what memory does not take; spool.SpoolFile."""

    unread_bytes: int

    @property
    def has_room(self) -> bool: ...

    def append(self, piece: bytes) -> bool:
        """False: not taken."""
        ...

    def take(self) -> bytes:
        """The oldest unread piece. Raises OutputDamaged."""
        ...

    def reuse(self) -> None:
        """Everything was taken."""
        ...

    def remove(self) -> None: ...


class Chunk(NamedTuple):
    offset: int
    content: bytes
    at_ms: int
    """When its last byte was read, as far as known: chunks that are sent again carry the time of the latest read."""


class OutputBuffer:
    """The unconfirmed end of one stream."""

    __slots__ = (
        "_base", "_buffer", "_digest", "_late", "_limit_bytes", "_sealed", "acked", "damaged", "last_read_ms", "length",
        "overflow", "sent", "stream", "truncated_bytes",
    )  # fmt: skip

    def __init__(
        self, stream: "pb.Stream.ValueType", *, limit_bytes: int = 0, overflow: Overflow | None = None
    ) -> None:
        """`limit_bytes`: of the whole stream; what comes after is counted and thrown away. 0: none."""
        self.stream = stream
        self.overflow = overflow
        self.acked = 0
        self.sent = 0
        self.length = 0
        self.last_read_ms = 0
        self.truncated_bytes = 0
        self.damaged = False
        """Bytes were lost on this machine: the stream ends where they began."""
        self._limit_bytes = limit_bytes
        self._base = 0
        self._buffer = bytearray()
        self._late = bytearray()
        """Came when the overflow could not take it any more: at most what a pipe holds."""
        self._digest = hashlib.sha256()
        self._sealed = False

    # ---- What it holds

    @property
    def has_room(self) -> bool:
        if self.damaged or (self._limit_bytes and self.length >= self._limit_bytes):
            return True  # to be thrown away
        if self._late:
            return False
        if not self._overflowing and self.memory_bytes < RETAINED_BYTES:
            return True
        return self.overflow is not None and self.overflow.has_room

    @property
    def memory_bytes(self) -> int:
        return self._memory_end - self.acked + len(self._late)

    @property
    def ready_bytes(self) -> int:
        """What `take` can give now."""
        return self._memory_end - self.sent

    @property
    def unsent_bytes(self) -> int:
        return self.length - self.sent

    @property
    def in_flight_bytes(self) -> int:
        return self.sent - self.acked

    @property
    def _memory_end(self) -> int:
        return self._base + len(self._buffer)

    @property
    def _overflowing(self) -> bool:
        return self.overflow is not None and self.overflow.unread_bytes > 0

    # ---- From the pipe

    def append(self, piece: bytes, at_ms: int) -> int:
        """Take what was read: up to 64 KiB. Returns how much of it is kept. May pass the bounds by one piece."""
        self.last_read_ms = at_ms
        kept_bytes = 0 if self.damaged else len(piece)
        if self._limit_bytes:
            kept_bytes = min(kept_bytes, self._limit_bytes - self.length)
        self.truncated_bytes += len(piece) - kept_bytes
        if kept_bytes == 0:
            return 0
        piece = piece[:kept_bytes]
        self._digest.update(piece)
        self.length += kept_bytes
        self._put(piece)
        return kept_bytes

    def _put(self, piece: bytes) -> None:
        if self._late:
            self._late += piece
            return
        overflow = self.overflow
        full = self.memory_bytes >= RETAINED_BYTES
        if overflow is not None and (self._overflowing or (full and overflow.has_room)):
            if not overflow.append(piece):
                self._late += piece
        else:
            self._buffer += piece

    # ---- To the gateway

    def take(self, limit_bytes: int) -> Chunk:
        """The next unsent bytes, at most `limit_bytes`. They count as sent from now on."""
        start = self.sent - self._base
        end = start + min(limit_bytes, self.ready_bytes)
        with memoryview(self._buffer) as view, view[start:end] as part:
            content = bytes(part)
        chunk = Chunk(self.sent, content, self.last_read_ms)
        self.sent += len(content)
        return chunk

    def acknowledge(self, offset: int) -> None:
        """The store has everything below `offset`. Goes forward only; a lie beyond `length` is cut down to it."""
        while True:
            self.acked = max(self.acked, min(offset, self._memory_end))
            self.sent = max(self.sent, self.acked)
            if self.acked == self._memory_end or self.acked - self._base >= _COMPACT_AT_BYTES:
                del self._buffer[: self.acked - self._base]
                self._base = self.acked
            self.refill()
            if self.acked >= min(offset, self.length):
                return

    def refill(self) -> None:
        """Bring back from the overflow what memory has room for."""
        overflow = self.overflow
        if overflow is not None and overflow.unread_bytes:
            try:
                while self.memory_bytes < RETAINED_BYTES and overflow.unread_bytes:
                    self._buffer += overflow.take()
            except OutputDamaged:
                self._give_up_rest(overflow)
            if not overflow.unread_bytes and not self._sealed:
                overflow.reuse()
        if self._late and not self._overflowing:
            self._buffer += self._late
            self._late.clear()

    def rewind(self) -> None:
        """Send again from the acknowledged offset."""
        self.sent = self.acked

    def _give_up_rest(self, overflow: Overflow) -> None:
        self.damaged = True
        self.truncated_bytes += self.length - self._memory_end
        self.length = self._memory_end
        self._late.clear()
        overflow.remove()

    # ---- The end

    def seal(self) -> None:
        """Its command has ended: no more comes, and the overflow is kept as it is until `discard`."""
        self._sealed = True

    def rest(self) -> Iterator[bytes]:
        """What memory holds from `acked` on, without what is late, in pieces of up to 64 KiB."""
        return _pieces(self._buffer, self.acked - self._base)

    def late_rest(self) -> Iterator[bytes]:
        """What came after all that is in the overflow, in pieces of up to 64 KiB."""
        return _pieces(self._late, 0)

    def restore(self, *, acked: int, length: int, content: bytes) -> None:
        """Become what another executor held; `content`: from `acked` on, the overflow has what follows."""
        self.acked = self.sent = self._base = acked
        self.length = length
        self._buffer[:] = content
        self._sealed = True
        if self.overflow is None or not self.overflow.unread_bytes:
            self.length = self._memory_end
        self.refill()

    def discard(self) -> None:
        """Nobody needs it any more."""
        if self.overflow is not None:
            self.overflow.remove()
        self._buffer.clear()
        self._late.clear()
        self.acked = self.sent = self._base = self.length

    def stream_end(self) -> pb.StreamEnd:
        """What the Result says. Without a digest when bytes were lost here: then nobody can call it complete."""
        return pb.StreamEnd(
            length=self.length,
            sha256=b"" if self.damaged else self._digest.digest(),
            truncated_bytes=self.truncated_bytes,
        )


class CommandOutput:
    """Both streams of one command."""

    __slots__ = ("attempt", "command_id", "stderr", "stdout")

    def __init__(self, command_id: str, attempt: int, stdout: OutputBuffer, stderr: OutputBuffer) -> None:
        self.command_id = command_id
        self.attempt = attempt
        self.stdout = stdout
        self.stderr = stderr

    @property
    def buffers(self) -> tuple[OutputBuffer, OutputBuffer]:
        return self.stdout, self.stderr

    @property
    def all_sent(self) -> bool:
        return not self.stdout.unsent_bytes and not self.stderr.unsent_bytes

    @property
    def damaged(self) -> bool:
        return self.stdout.damaged or self.stderr.damaged

    def buffer(self, stream: "pb.Stream.ValueType") -> OutputBuffer | None:
        """None for a stream that we do not know."""
        return {pb.STDOUT: self.stdout, pb.STDERR: self.stderr}.get(stream)


def _pieces(content: bytearray, start: int) -> Iterator[bytes]:
    for position in range(start, len(content), OUTPUT_CHUNK_BYTES):
        yield bytes(content[position : position + OUTPUT_CHUNK_BYTES])
