"""What the carrier decides, without the wire: what may arrive on a connection, and with what words one is closed.

One connection of ours carries one link on one stream, which the gateway opened. QUIC itself bounds nothing here:
aioquic's receive windows grow however slowly frames are taken (measured), so what waits is counted, and a peer that
sends more than any window allows is an overflow. For quicflow, quarterdeck.wire.quicflow_streams does the same.
"""

from collections import deque
from typing import Final, NamedTuple

from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.wire import quicflow
from quarterdeck.wire.framing import FrameDecoder

MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""Frames that nobody took yet. Windows are 2 MiB at most; the rest is room for reports while the bus is slow."""


class FrameIntake:
    """Frames of the link's one stream, until they are taken."""

    def __init__(self, stream_id: int) -> None:
        self._stream_id = stream_id
        self._decoder = FrameDecoder()
        self._frames: deque[bytes] = deque()
        self._waiting_bytes = 0

    def feed(self, stream_id: int, piece: bytes) -> None:
        """Raises FrameError for bytes that are no frames, LinkRefused (protocol, overflow) for what is not allowed."""
        if stream_id != self._stream_id:
            raise LinkRefused(LinkEnd.PROTOCOL, "a second stream")
        for frame in self._decoder.feed(piece):
            self._frames.append(frame)
            self._waiting_bytes += len(frame)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._frames.clear()
            raise LinkRefused(LinkEnd.OVERFLOW, f"{self._waiting_bytes} bytes that nobody could take")

    def take(self) -> bytes | None:
        """The oldest frame, or None when none waits."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self._waiting_bytes -= len(frame)
        return frame


class CloseWords(NamedTuple):
    """What a connection is closed with: the application's error code, and a text."""

    code: int
    phrase: str


def quicflow_close_words(reason: str) -> CloseWords:
    """How a quicflow client hears why its connection ends. `reason`: a LinkEnd."""
    match reason:
        case LinkEnd.SILENT:
            return CloseWords(quicflow.NO_ERROR, "heartbeat timeout")
        case (
            LinkEnd.PROTOCOL
            | LinkEnd.UNDECODABLE
            | LinkEnd.UNAUTHENTICATED
            | LinkEnd.REVOKED
            | LinkEnd.OVERFLOW
        ):
            return CloseWords(quicflow.REFUSED, reason)
        case _:
            return CloseWords(quicflow.NO_ERROR, reason)
