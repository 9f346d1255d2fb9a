"""The one who kills: a random process every 0.2–2 s, for good or for a while.

Owns what is done to whom and when, drawn from the seed alone; who bears a role at that moment is looked up when it
happens. Also samples memory, since it looks at every process anyway.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec
import psutil

from tests.chaos.processes import EXECUTOR, FRONT, living, resident_bytes
from tests.e2e.system import System

_WEIGHTS: Final = {
    "nats": 5,
    "redis": 5,
    "api": 8,
    "broadcaster": 8,
    "dispatcher": 9,
    "aggregator": 9,
    "quic-gateway": 12,
    "grpc-gateway": 12,
    FRONT: 18,
    EXECUTOR: 14,
}
"""Brokers take everybody with them for a moment: often enough to count, rarely enough for progress in between."""

_PAUSE_BETWEEN_S: Final = (0.2, 2.0)
_STOPPED_FOR_S: Final = (0.2, 5.0)
_KILLS: Final = 0.5
"""The share of faults that are SIGKILL; the others are SIGSTOP and, later, SIGCONT."""


FLUSH: Final = "flushall"
"""Among the strikes: all of Redis was lost."""


class Fault(msgspec.Struct, frozen=True):
    """One draw. `stopped_for_s` None: SIGKILL."""

    after_s: float
    role: str
    lot: float
    """0–1, picks one of those that bear the role."""
    stopped_for_s: float | None


class Strike(msgspec.Struct, frozen=True):
    """One fault that happened: what to look for in the logs."""

    at_ms: int
    role: str
    pid: int
    stopped_for_s: float | None


class Havoc:
    """`flush`: empties Redis; called about every `flush_every_s` when given."""

    def __init__(
        self,
        system: System,
        seed: int,
        *,
        flush: Callable[[], Awaitable[None]] | None = None,
        flush_every_s: float = 60,
    ) -> None:
        self._system = system
        self._dice = random.Random(f"{seed}-havoc")
        self._flush = flush
        self._flush_every_s = flush_every_s
        self._stopped: set[asyncio.Task[None]] = set()
        self.strikes: list[Strike] = []
        self.peak_bytes: dict[str, int] = {}
        self.flushes = 0

    @contextlib.asynccontextmanager
    async def raging(self) -> AsyncIterator[None]:
        """Until the block ends; then everything that was stopped goes on."""
        tasks = [asyncio.create_task(self._rage()), asyncio.create_task(self._watch_memory())]
        if self._flush is not None:
            tasks.append(asyncio.create_task(self._lose_redis(self._flush)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*self._stopped)

    def draw(self) -> Fault:
        """The next fault of the seed."""
        roles = list(_WEIGHTS)
        return Fault(
            after_s=self._dice.uniform(*_PAUSE_BETWEEN_S),
            role=self._dice.choices(roles, weights=list(_WEIGHTS.values()))[0],
            lot=self._dice.random(),
            stopped_for_s=None if self._dice.random() < _KILLS else self._dice.uniform(*_STOPPED_FOR_S),
        )

    def sample_memory(self) -> None:
        for role, processes in living(self._system.ready).items():
            peak = max((resident_bytes(process) for process in processes), default=0)
            self.peak_bytes[role] = max(self.peak_bytes.get(role, 0), peak)

    async def _rage(self) -> None:
        while True:
            fault = self.draw()
            await asyncio.sleep(fault.after_s)
            bearers = living(self._system.ready).get(fault.role)
            if bearers:
                self._strike(fault, bearers[int(fault.lot * len(bearers))])

    def _strike(self, fault: Fault, victim: psutil.Process) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            if fault.stopped_for_s is None:
                victim.kill()
            else:
                victim.suspend()
                task = asyncio.create_task(self._resume(victim, fault.stopped_for_s))
                self._stopped.add(task)
                task.add_done_callback(self._stopped.discard)
            self.strikes.append(
                Strike(time.time_ns() // 1_000_000, fault.role, victim.pid, fault.stopped_for_s)
            )

    async def _resume(self, victim: psutil.Process, after_s: float) -> None:
        await asyncio.sleep(after_s)
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.resume()

    async def _watch_memory(self) -> None:
        while True:
            self.sample_memory()
            await asyncio.sleep(2)

    async def _lose_redis(self, flush: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(self._flush_every_s * self._dice.uniform(0.5, 1.0))
            await flush()
            self.flushes += 1
            self.strikes.append(Strike(time.time_ns() // 1_000_000, FLUSH, 0, None))
