"""Time as a parameter: the two clocks that a process reads, and one that tests turn by hand.

Owns nothing else; it never sleeps. Every part that looks at the time takes a `Clock`.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """What the time is."""

    def now_ms(self) -> int:
        """Unix milliseconds, for what is stored or shown."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since some fixed point, for durations; never goes backwards."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


class ManualClock:
    """Stands still until `advance`. Both readings move together."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return self._now_ms / 1000

    def advance(self, ms: int) -> None:
        """Move forward by `ms` milliseconds."""
        self._now_ms += ms
