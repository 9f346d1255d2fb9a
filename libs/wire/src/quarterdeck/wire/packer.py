"""Puts queued messages into frames: whatever waits goes out together, more urgent lanes first. Does no I/O.

Used by both ends for what they send. Messages come serialised, so that one that goes to many links is
serialised once. A frame is the protobuf message `{ repeated Message messages = 1; }`, which is nothing but
its members behind one another.
"""

from collections import deque
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from quarterdeck.contracts.errors import QuarterdeckError

PACKED_FRAME_BYTES: Final = 256 * 1024
"""Where a frame is closed although more is queued. Larger frames gain nothing (measured) and delay what is
urgent."""

_MEMBER_TAG: Final = b"\x0a"
"""Field 1, length-delimited. Source: protobuf encoding, "Message Structure"."""
_MEMBER_OVERHEAD_BYTES: Final = 5
"""Tag and length of one member, at most, below 256 MiB."""


class Lane(IntEnum):
    """What goes first. Within a lane, first come, first sent."""

    CONTROL = 0
    REPORT = 1
    OUTPUT = 2


class PackerFull(QuarterdeckError):
    """The queue holds its limit. `queued_bytes`: how much is in it."""

    code = "packer_full"

    def __init__(self, queued_bytes: int) -> None:
        super().__init__(f"{queued_bytes} bytes are queued already")
        self.queued_bytes = queued_bytes


def join_messages(messages: Iterable[bytes]) -> bytes:
    """The frame (AgentFrame or GatewayFrame, serialised) of `messages` (each serialised)."""
    parts: list[bytes] = []
    for message in messages:
        parts += (_MEMBER_TAG, _varint(len(message)), message)
    return b"".join(parts)


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    septets = bytearray()
    while number >= 0x80:
        septets.append(number & 0x7F | 0x80)
        number >>= 7
    septets.append(number)
    return bytes(septets)


class FramePacker:
    """A bounded queue of serialised messages that is emptied by the frame."""

    def __init__(self, *, limit_bytes: int, lanes: int = len(Lane)) -> None:
        """`limit_bytes`: most that may wait, over all lanes. `lanes`: how many; lane 0 goes first."""
        self._limit_bytes = limit_bytes
        self._lanes: tuple[deque[bytes], ...] = tuple(deque() for _ in range(lanes))
        self._queued_bytes = 0

    @property
    def queued_bytes(self) -> int:
        return self._queued_bytes

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    def put(self, message: bytes, lane: int = Lane.CONTROL) -> None:
        """Queue one serialised message. Raises PackerFull, and takes nothing, when the limit would be passed."""
        size = len(message) + _MEMBER_OVERHEAD_BYTES
        if self._queued_bytes + size > self._limit_bytes:
            raise PackerFull(self._queued_bytes)
        self._lanes[lane].append(message)
        self._queued_bytes += size

    def take_messages(self, room_bytes: int = PACKED_FRAME_BYTES) -> list[bytes]:
        """The next messages that fit into `room_bytes`; at least one when any is queued."""
        taken: list[bytes] = []
        for lane in self._lanes:
            while lane:
                size = len(lane[0]) + _MEMBER_OVERHEAD_BYTES
                if taken and size > room_bytes:
                    return taken
                taken.append(lane.popleft())
                room_bytes -= size
                self._queued_bytes -= size
        return taken

    def take(self) -> bytes | None:
        """The next frame, serialised, or None when nothing is queued."""
        messages = self.take_messages()
        return join_messages(messages) if messages else None

    def clear(self) -> None:
        """Forget everything that is queued."""
        for lane in self._lanes:
            lane.clear()
        self._queued_bytes = 0
