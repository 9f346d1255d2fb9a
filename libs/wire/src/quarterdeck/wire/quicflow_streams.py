"""Many streams as one sequence of frames, each with the stream that it is on. Pure: no QUIC library, no I/O.

quicflow opens a stream per heartbeat and per command. Who talks it needs to know which stream a frame came on, and
little else of QUIC: a carrier hands `StreamFrame`s up and down in the one order in which they came, packed to bytes
where it stands in for a carrier of plain frames. `StreamIntake` cuts what arrives, and bounds it.
"""

from collections import deque
from typing import Final, NamedTuple

from quarterdeck.contracts.errors import DecodeError, LinkRefused
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.wire.framing import FrameDecoder
from quarterdeck.wire.quicflow import MAX_FRAME_BYTES

MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""Of one connection: frames that nobody took yet, and what came of those that are not complete."""
MAX_UNFINISHED_STREAMS: Final = 128
"""Of one connection: streams that stopped inside a frame."""

CLIENT_STREAM: Final = 0
SERVER_STREAM: Final = 1
"""The first bidirectional stream of either side; the next ones follow in steps of STREAM_STEP (RFC 9000 §2.1)."""
STREAM_STEP: Final = 4

_FRAME_COST_BYTES: Final = 128
"""What a frame costs besides its bytes: many small ones must not add up to more than few large ones."""
_ID_BYTES: Final = 8
_FIN: Final = 1
_STOP: Final = 2


class StreamFrame(NamedTuple):
    """One frame on one stream, in either direction."""

    stream_id: int
    """The QUIC stream id: its low bits say who opened it."""
    frame: bytes = b""
    """Without its length. Empty: only what the members below say."""
    fin: bool = False
    """To be sent: nothing follows on this stream. Not set on what was received."""
    stop: bool = False
    """To be sent: what still comes on this stream will not be read."""

    def pack(self) -> bytes:
        flags = _FIN * self.fin | _STOP * self.stop
        return self.stream_id.to_bytes(_ID_BYTES) + flags.to_bytes() + self.frame

    @classmethod
    def unpack(cls, packed: bytes) -> "StreamFrame":
        """Raises DecodeError."""
        if len(packed) <= _ID_BYTES:
            raise DecodeError("no stream frame")
        flags = packed[_ID_BYTES]
        stream_id = int.from_bytes(packed[:_ID_BYTES])
        return cls(stream_id, packed[_ID_BYTES + 1 :], bool(flags & _FIN), bool(flags & _STOP))


class StreamIntake:
    """Pieces of many streams in, whole frames out, in the order in which they became whole."""

    def __init__(self) -> None:
        self._unfinished: dict[int, FrameDecoder] = {}
        self._frames: deque[StreamFrame] = deque()
        self._waiting_bytes = 0

    def feed(self, stream_id: int, piece: bytes, *, fin: bool = False) -> None:
        """Take what came on a stream; `fin`: nothing will follow on it.

        Raises FrameError for a length of 0 or beyond the limit, DecodeError for a stream that ends inside a frame,
        LinkRefused (overflow) when the peer sent more than anybody takes.
        """
        decoder = self._unfinished.pop(stream_id, None) or FrameDecoder(MAX_FRAME_BYTES)
        before_bytes = decoder.buffered_bytes
        for frame in decoder.feed(piece):
            self._frames.append(StreamFrame(stream_id, frame))
            self._waiting_bytes += len(frame) + _FRAME_COST_BYTES
        self._waiting_bytes += decoder.buffered_bytes - before_bytes
        if decoder.buffered_bytes:
            if fin:
                raise DecodeError("a stream ended inside a frame")
            self._unfinished[stream_id] = decoder
        if self._waiting_bytes > MAX_WAITING_BYTES or len(self._unfinished) > MAX_UNFINISHED_STREAMS:
            self._frames.clear()
            self._unfinished.clear()
            raise LinkRefused(LinkEnd.OVERFLOW, f"{self._waiting_bytes} bytes that nobody could take")

    def reset(self, stream_id: int) -> None:
        """The peer gave the stream up: what came of an unfinished frame is nothing."""
        decoder = self._unfinished.pop(stream_id, None)
        if decoder is not None:
            self._waiting_bytes -= decoder.buffered_bytes

    def take(self) -> StreamFrame | None:
        """The oldest frame, or None when none waits."""
        if not self._frames:
            return None
        received = self._frames.popleft()
        self._waiting_bytes -= len(received.frame) + _FRAME_COST_BYTES
        return received
