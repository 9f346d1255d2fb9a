"""Peak memory of every process of a running system, by role.

Owns the sampling. RSS, which counts shared pages in full: what is stated as a bound holds for the sum of all the more.
Called by the scenes and by the end-to-end test.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import psutil

from tests.e2e.system import System

_EVERY_S: Final = 0.1
_FORKED_S: Final = 1.0
_MIB: Final = 1024 * 1024


class MemoryWatch:
    """`peak_mib`: by process name, the most that any process of that name had since the last `reset`."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.peak_mib: dict[str, float] = {}

    def reset(self) -> None:
        self.peak_mib = {}

    def sample(self) -> None:
        """Looks once."""
        for name, process in processes(self._system):
            try:
                now_mib = process.memory_info().rss / _MIB
            except psutil.NoSuchProcess:
                continue
            self.peak_mib[name] = max(self.peak_mib.get(name, 0.0), now_mib)

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(_EVERY_S)


def processes(system: System) -> list[tuple[str, psutil.Process]]:
    """Services, brokers and agents; what agents run for somebody is not theirs."""
    ready = system.ready
    found = [(name, pid) for name, pid in ready["pids"].items()]
    found += [(f"agent {name}", agent["pid"]) for name, agent in ready["agents"].items()]
    listed: list[tuple[str, psutil.Process]] = []
    for name, pid in found:
        try:
            process = psutil.Process(pid)
            listed.append((name, process))
            if name.startswith("agent "):
                listed += [(f"{name}: front", child) for child in process.children() if _is_ours(child)]
        except psutil.NoSuchProcess:
            continue
    return listed


def _is_ours(process: psutil.Process) -> bool:
    """A process that an agent just forked looks like the agent, until it becomes the command."""
    try:
        old = time.time() - process.create_time() > _FORKED_S
        return old and any(word.startswith("quarterdeck") for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False


@asynccontextmanager
async def watching_memory(system: System) -> AsyncIterator[MemoryWatch]:
    watch = MemoryWatch(system)
    watch.sample()
    task = asyncio.create_task(watch.run(), name="memory-watch")
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.wait([task])
