"""How fast one stream may be stored while others use the feed too: bulk output leaves room for everybody's events.

A command that prints without end takes whatever it is given: the bus, the processors of the bus, and this event loop.
So a stream rests between two publishes while the feed is shared, REST_FACTOR times as long as the last publish took;
alone, it never rests. Who shares the feed needs no asking: the bus numbers all messages of the feed, so a number that
was skipped between two of ours is somebody else's event or output, through whichever gateway it came.

Streams that share with nobody but each other rest too, but not at the same time: together they fill the bus.
Pure; `StreamWriter` measures and waits.
"""

from typing import Final

REST_FACTOR: Final = 3.0
"""A stream takes a quarter of what it could get. On a busy machine a publish takes longer, and so does the rest."""
MAX_REST_S: Final = 0.25
"""A bus that takes seconds for one publish is in trouble, and resting on top of it helps nobody."""
SHARED_FOR_S: Final = 0.5
"""How long after the last message of others the feed counts as shared."""
BULK_BYTES: Final = 1024 * 1024
"""Up to here a stream is somebody's answer, not bulk, and never rests."""


class OutputPace:
    """Of one stream. Times are of the caller's monotonic clock."""

    __slots__ = ("_last_sequence", "_shared_until_s", "_stored_bytes")

    def __init__(self) -> None:
        self._last_sequence: int | None = None
        self._shared_until_s = 0.0
        self._stored_bytes = 0

    def rest_s(self, *, sequence: int, size_bytes: int, now_s: float, took_s: float) -> float:
        """How long to wait before the next publish, after one of `size_bytes` that took `took_s` and got `sequence`."""
        if self._last_sequence is not None and sequence != self._last_sequence + 1:
            self._shared_until_s = now_s + SHARED_FOR_S
        self._last_sequence = sequence
        self._stored_bytes += size_bytes
        if self._stored_bytes <= BULK_BYTES or now_s >= self._shared_until_s:
            return 0.0
        return min(took_s * REST_FACTOR, MAX_REST_S)
