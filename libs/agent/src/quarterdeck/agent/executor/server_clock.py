"""What the server's clock says, by which orders expire. Our own may be wrong, and may be put right at any moment.

From a Welcome on it is counted in time since boot, which nobody sets and which goes on while the machine sleeps. Before
the first one, what an executor before us heard is the best there is.
"""

import time

from quarterdeck.agent.executor.journal.journal import Journal
from quarterdeck.core.clock import Clock


class ServerClock:
    """Set at each Welcome."""

    def __init__(self, clock: Clock, journal: Journal) -> None:
        self._clock = clock
        self._journal = journal
        self._server_boot_ms: int | None = None
        """What it said when this machine's time since boot was 0."""

    def heard(self, server_time_ms: int) -> None:
        """It has just said so. 0: it does not say."""
        self._server_boot_ms = server_time_ms - _since_boot_ms() if server_time_ms else None

    def now_ms(self) -> int:
        if self._server_boot_ms is not None:
            return self._server_boot_ms + _since_boot_ms()
        return self._clock.now_ms() + self._journal.clock_offset_ms


def _since_boot_ms() -> int:
    """Source: clock_gettime(2), CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
