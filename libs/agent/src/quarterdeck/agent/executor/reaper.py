"""Makes the executor the parent of its orphans, and buries them.

As a child subreaper the executor inherits the processes that its commands leave behind, which keeps them in sight of a
terminate; in return it has to reap them. Children of its own are left to whoever started them.
Source: PR_SET_CHILD_SUBREAPER(2const).
"""

import asyncio
import ctypes
import os
from collections.abc import Callable
from typing import Final

import structlog

from quarterdeck.agent.executor.proc_table import ProcTable

log = structlog.get_logger()

_PR_SET_CHILD_SUBREAPER: Final = 36
_SWEEP_INTERVAL_S: Final = 5.0


def become_subreaper() -> bool:
    """False where the kernel does not let us; then orphans go to init and terminate finds them by their marker."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


class Reaper:
    """Sweeps for dead orphans now and then."""

    def __init__(self, table: ProcTable, is_tracked: Callable[[int], bool]) -> None:
        """`is_tracked`: whether a pid is a command's own process, which its run reaps itself."""
        self._table = table
        self._is_tracked = is_tracked
        self._seen_dead: set[tuple[int, int]] = set()

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(_SWEEP_INTERVAL_S)
            self.sweep()

    def sweep(self) -> int:
        """Reap orphans that were dead at the last sweep already. Returns how many.

        Two sweeps, because a child that some handler started itself looks the same until the handler waits for it.
        """
        if not _any_dead_child():
            self._seen_dead.clear()
            return 0
        own_session = os.getsid(0)
        self._table.expire()
        snapshot = self._table.snapshot()
        dead = {
            (stat.pid, stat.started_ticks)
            for pid in snapshot.children.get(os.getpid(), ())
            if (stat := snapshot.processes[pid]).dead
            and stat.session != own_session
            and not self._is_tracked(pid)
        }
        reaped = 0
        for pid, _ in dead & self._seen_dead:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue  # somebody was quicker
            reaped += 1
        self._seen_dead = dead - self._seen_dead
        if reaped:
            log.debug("executor.orphans_reaped", count=reaped)
        return reaped


def _any_dead_child() -> bool:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
