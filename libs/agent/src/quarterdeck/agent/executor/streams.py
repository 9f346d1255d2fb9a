"""Output that the gateway has not confirmed: bytes, offsets, digest. Sans-IO: pipes fill it, the outlet empties it.

Offsets count bytes of a stream from 0. For one stream: `acked ≤ sent ≤ length`; the bytes from `acked` on are held
here, so that a new link can go on where the last one stopped. More than RETAINED_BYTES are never held: whoever fills
the buffer asks `has_room` first, which is how a slow gateway makes a child process wait.
"""

import hashlib
from typing import Final, NamedTuple

from quarterdeck.wire.agent_v1 import agent_pb2 as pb

RETAINED_BYTES: Final = 2 * 1024 * 1024
"""Unacknowledged output of one stream: the whole window of a link. At 10 ms to the stored log and back this still
carries 200 MB/s; half of it cost a sixth on a busy machine (measured)."""

_COMPACT_AT_BYTES: Final = 64 * 1024
"""Acknowledged bytes are cut off the front once they are this many."""


class Chunk(NamedTuple):
    offset: int
    content: bytes
    at_ms: int
    """When its last byte was read, as far as known: chunks that are sent again carry the time of the latest read."""


class OutputBuffer:
    """The unconfirmed end of one stream."""

    __slots__ = ("_base", "_buffer", "_digest", "acked", "last_read_ms", "length", "sent", "stream")

    def __init__(self, stream: "pb.Stream.ValueType") -> None:
        self.stream = stream
        self.acked = 0
        self.sent = 0
        self.length = 0
        self.last_read_ms = 0
        self._base = 0
        self._buffer = bytearray()
        self._digest = hashlib.sha256()

    @property
    def has_room(self) -> bool:
        return self.length - self.acked < RETAINED_BYTES

    @property
    def unsent_bytes(self) -> int:
        return self.length - self.sent

    @property
    def in_flight_bytes(self) -> int:
        return self.sent - self.acked

    def append(self, piece: bytes, at_ms: int) -> None:
        """Take what was read. May pass RETAINED_BYTES by one piece."""
        self._buffer += piece
        self._digest.update(piece)
        self.length += len(piece)
        self.last_read_ms = at_ms

    def take(self, limit_bytes: int) -> Chunk:
        """The next unsent bytes, at most `limit_bytes`. They count as sent from now on."""
        start = self.sent - self._base
        end = start + min(limit_bytes, self.unsent_bytes)
        with memoryview(self._buffer) as view, view[start:end] as part:
            content = bytes(part)
        chunk = Chunk(self.sent, content, self.last_read_ms)
        self.sent += len(content)
        return chunk

    def acknowledge(self, offset: int) -> None:
        """The store has everything below `offset`. Goes forward only; a lie beyond `length` is cut down to it."""
        self.acked = max(self.acked, min(offset, self.length))
        self.sent = max(self.sent, self.acked)
        if self.acked == self.length or self.acked - self._base >= _COMPACT_AT_BYTES:
            del self._buffer[: self.acked - self._base]
            self._base = self.acked

    def rewind(self) -> None:
        """Send again from the acknowledged offset."""
        self.sent = self.acked

    def stream_end(self) -> pb.StreamEnd:
        return pb.StreamEnd(length=self.length, sha256=self._digest.digest())


class CommandOutput:
    """Both streams of one command."""

    __slots__ = ("attempt", "command_id", "stderr", "stdout")

    def __init__(self, command_id: str, attempt: int) -> None:
        self.command_id = command_id
        self.attempt = attempt
        self.stdout = OutputBuffer(pb.STDOUT)
        self.stderr = OutputBuffer(pb.STDERR)

    @property
    def retained_bytes(self) -> int:
        return sum(buffer.length - buffer.acked for buffer in (self.stdout, self.stderr))

    @property
    def all_sent(self) -> bool:
        return not self.stdout.unsent_bytes and not self.stderr.unsent_bytes

    def buffer(self, stream: "pb.Stream.ValueType") -> OutputBuffer | None:
        """None for a stream that we do not know."""
        return {pb.STDOUT: self.stdout, pb.STDERR: self.stderr}.get(stream)
