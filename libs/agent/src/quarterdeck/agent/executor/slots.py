"""Which command starts next: at most so many at once, higher priority first, then first come.

Sans-IO. A waiting command can be withdrawn; the gate lets the executor hold back starts while too much is
unacknowledged.
"""

import heapq
import itertools
from collections.abc import Callable

from quarterdeck.agent.executor.journal.entries import CommandKey


class Slots:
    """Calls `start` functions; each start is followed by one `release`."""

    def __init__(self, max_parallel: int, gate: Callable[[], bool]) -> None:
        """`gate`: whether anything new may start now. Call `advance` when its answer may have changed."""
        self._free = max_parallel
        self._gate = gate
        self._arrival = itertools.count()
        self._heap: list[tuple[int, int, CommandKey]] = []
        self._waiting: dict[CommandKey, tuple[Callable[[], None], int]] = {}
        self.waiting_bytes = 0

    def submit(self, key: CommandKey, start: Callable[[], None], *, priority: int, size_bytes: int) -> None:
        """Start now, or when there is room. `priority`: 10 first. `size_bytes`: what it holds while it waits."""
        self._waiting[key] = (start, size_bytes)
        self.waiting_bytes += size_bytes
        heapq.heappush(self._heap, (-priority, next(self._arrival), key))
        self.advance()

    def withdraw(self, key: CommandKey) -> bool:
        """Take a waiting command out. False when it does not wait (any more)."""
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return False
        self.waiting_bytes -= waiting[1]
        return True

    def release(self) -> None:
        """A command that was started has ended."""
        self._free += 1
        self.advance()

    def advance(self) -> None:
        """Start what may start."""
        while self._heap and self._free > 0 and self._gate():
            _, _, key = heapq.heappop(self._heap)
            waiting = self._waiting.pop(key, None)
            if waiting is None:  # withdrawn
                continue
            start, size_bytes = waiting
            self.waiting_bytes -= size_bytes
            self._free -= 1
            start()
