"""Whether the disk has room for another command's records and output. Asked for each order, answered from a cache."""

import os
from pathlib import Path
from typing import Final

from quarterdeck.core.clock import Clock

_FRESH_S: Final = 1.0


class DiskSpace:
    """The reserve keeps room for the records of what runs already: refusing early is better than failing halfway."""

    def __init__(self, directory: Path, reserve_bytes: int, clock: Clock) -> None:
        self._directory = directory
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._asked_s: float | None = None
        self._short = False

    @property
    def short(self) -> bool:
        """Less than the reserve is free (at most a second ago)."""
        now_s = self._clock.monotonic_s()
        if self._asked_s is None or now_s - self._asked_s > _FRESH_S:
            self._asked_s = now_s
            self._short = self._free_bytes() < self._reserve_bytes
        return self._short

    def _free_bytes(self) -> int:
        try:
            system = os.statvfs(self._directory)
        except OSError:
            return 0
        return system.f_bavail * system.f_frsize
