"""Stops a command for good: SIGTERM, grace, SIGKILL, and the proof that nothing of it is left.

What belongs to a command: its process group, its session, everything that carries its marker, and all descendants of
these. A process that left group, session and parent behind (a daemon) still carries the marker; one that also cleared
its environment has been adopted by the executor (a child subreaper) and is found as the child of one that we know, as
long as that one lives. What escapes all four would need a cgroup to be caught.
"""

import asyncio
import contextlib
import os
import signal
from typing import Final

from quarterdeck.agent.executor.proc_table import ProcessStat, ProcTable, read_stat, send_signal

_FIRST_LOOK_S: Final = 0.002
_SLOWEST_LOOK_S: Final = 0.1
_PROOF_TIMEOUT_S: Final = 30.0
"""A process that survives SIGKILL this long sits in the kernel (a dead disk); then we say that we cannot prove its
end."""
_NOBODY: Final = -1
"""No process, group or session has this number."""


class ProcessTree:
    """All processes of one command."""

    def __init__(self, leader_pid: int, leader_started_ticks: int, marker: str, table: ProcTable) -> None:
        """The leader has a session and group of its own. See `of_child` and `left_behind`."""
        self._leader_pid = leader_pid
        self._leader_started_ticks = leader_started_ticks
        self._marker = marker
        self._table = table
        self._number_outlives_leader = True
        """Its group may be recognised by the number alone when the leader itself is gone."""
        self._known: set[tuple[int, int]] = set()

    @classmethod
    def of_child(cls, leader_pid: int, marker: str, table: ProcTable) -> "ProcessTree":
        """`leader_pid`: alive or not yet reaped, so that its start time can be read."""
        leader = read_stat(leader_pid)
        return cls(leader_pid, leader.started_ticks if leader else 0, marker, table)

    @classmethod
    def left_behind(cls, pid: int, started_ticks: int, marker: str, table: ProcTable) -> "ProcessTree":
        """What a command of an executor that is gone may have left. `pid` 0: it is not known, only the marker is."""
        tree = cls(pid or _NOBODY, started_ticks, marker, table)
        tree._number_outlives_leader = False  # nobody watched since: it may be somebody else's group by now
        return tree

    def members(self) -> list[ProcessStat]:
        """Those that live."""
        snapshot = self._table.snapshot()
        own_pid = os.getpid()
        leader = snapshot.processes.get(self._leader_pid)
        # While anybody is in the group or session, no other process gets its number; after that somebody may.
        number_is_ours = (
            leader.started_ticks == self._leader_started_ticks if leader else self._number_outlives_leader
        )
        found: dict[int, ProcessStat] = {}
        for stat in snapshot.processes.values():
            if stat.pid == own_pid or stat.started_ticks < self._leader_started_ticks:
                continue
            if (
                (number_is_ours and self._leader_pid in (stat.group, stat.session))
                or (stat.pid, stat.started_ticks) in self._known
                or self._table.marker(stat) == self._marker
            ):
                found[stat.pid] = stat
        unexplored = list(found)
        while unexplored:
            for child in snapshot.children.get(unexplored.pop(), ()):
                if child not in found and child != own_pid:
                    found[child] = snapshot.processes[child]
                    unexplored.append(child)
        self._known.update((stat.pid, stat.started_ticks) for stat in found.values())
        return [stat for stat in found.values() if not stat.dead]

    def signal(self, number: signal.Signals) -> None:
        """To every member; to the group at once first, so that a process that forks quickly cannot outrun us."""
        members = self.members()
        if any(stat.group == self._leader_pid for stat in members):
            try:
                os.killpg(self._leader_pid, number)
            except OSError:
                pass  # empty by now, or not ours to signal: then the proof will fail, and say so
        for stat in members:
            if stat.group != self._leader_pid:
                send_signal(stat, number)
        self._table.expire()

    def kill_unseen(self) -> None:
        """Right after the tree was seen empty: SIGKILL for whoever is in the group all the same.

        Who forks and exits at every moment is never where a look at /proc comes by; the kernel's own is atomic.
        """
        if self._number_outlives_leader:
            with contextlib.suppress(OSError):  # empty indeed
                os.killpg(self._leader_pid, signal.SIGKILL)
            self._table.expire()

    async def gone(self, within_s: float) -> bool:
        """Whether the tree was seen empty within that time."""
        deadline_s = asyncio.get_running_loop().time() + within_s
        pause_s = _FIRST_LOOK_S
        while self.members():
            left_s = deadline_s - asyncio.get_running_loop().time()
            if left_s <= 0:
                return False
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, _SLOWEST_LOOK_S)
        return True


async def stop_tree(tree: ProcessTree, *, grace_s: float) -> bool:
    """SIGTERM, up to `grace_s`, SIGKILL. True: proven that nothing is left. False: something would not die."""
    tree.signal(signal.SIGTERM)
    tree.signal(signal.SIGCONT)  # a stopped process would keep its SIGTERM for later
    if await tree.gone(grace_s):
        tree.kill_unseen()
        if await tree.gone(0):
            return True
    deadline_s = asyncio.get_running_loop().time() + _PROOF_TIMEOUT_S
    while asyncio.get_running_loop().time() < deadline_s:
        # Again and again: whoever was forked between two looks gets the next one.
        tree.signal(signal.SIGKILL)
        if await tree.gone(_SLOWEST_LOOK_S):
            return True
    return False
