"""Where one frame ends and the next begins, on carriers that are plain byte streams (QUIC). Does no I/O.

A frame travels behind its length: four bytes, big-endian. gRPC keeps message borders itself and needs none of
this. Called by the QUIC carriers of the agent and of the gateway. The quicflow protocol has the same frames and a
larger limit.
"""

from typing import Final

from quarterdeck.contracts.errors import DecodeError
from quarterdeck.contracts.limits import MAX_FRAME_BYTES

LENGTH_BYTES: Final = 4
"""Size of the length before each frame."""

_COMPACT_AT_BYTES: Final = 256 * 1024
"""Consumed bytes are cut off the buffer's front once they are this many: cutting per frame would copy the
rest each time."""


class FrameError(DecodeError):
    """The stream cannot be cut into frames any more. `length`: what the length field said, in bytes."""

    code = "bad_frame"

    def __init__(self, length: int, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        super().__init__(f"a frame has 1 to {max_frame_bytes} bytes, not {length}")
        self.length = length


def encode(frame: bytes, max_frame_bytes: int = MAX_FRAME_BYTES) -> bytes:
    """`frame` behind its length. Raises FrameError when it is empty or longer than `max_frame_bytes`."""
    if not 0 < len(frame) <= max_frame_bytes:
        raise FrameError(len(frame), max_frame_bytes)
    return len(frame).to_bytes(LENGTH_BYTES) + frame


class FrameDecoder:
    """Cuts a byte stream, fed in pieces of any size, into frames.

    Holds at most one unfinished frame and the piece it was last fed.
    """

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()
        self._start = 0

    @property
    def buffered_bytes(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return len(self._buffer) - self._start

    def feed(self, piece: bytes) -> list[bytes]:
        """The frames that `piece` completed, in order.

        Raises FrameError as soon as a length is 0 or above the limit, before any of that frame is kept.
        The frames before the broken one are lost with the link, which the caller closes.
        """
        self._buffer += piece
        frames: list[bytes] = []
        while (frame := self._next_frame()) is not None:
            frames.append(frame)
        if self._start >= _COMPACT_AT_BYTES or self._start == len(self._buffer):
            del self._buffer[: self._start]
            self._start = 0
        return frames

    def _next_frame(self) -> bytes | None:
        body = self._start + LENGTH_BYTES
        if len(self._buffer) < body:
            return None
        length = int.from_bytes(self._buffer[self._start : body])
        if not 0 < length <= self._max_frame_bytes:
            raise FrameError(length, self._max_frame_bytes)
        end = body + length
        if len(self._buffer) < end:
            return None
        self._start = end
        with memoryview(self._buffer) as view, view[body:end] as frame:
            return bytes(frame)
