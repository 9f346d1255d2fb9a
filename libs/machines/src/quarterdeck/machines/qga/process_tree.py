"""All processes of one command in the guest: found, signalled, and seen gone.

What belongs to a command, as on a host: its session and process group, whatever carries its marker, and all
descendants of these. The guest only tells what there is, in one go; what it means is decided here. Needs a Linux guest
with a shell, cat and grep, of coreutils or busybox.
"""

import asyncio
import re
from collections.abc import Iterable
from signal import Signals
from typing import Final, NamedTuple

from quarterdeck.machines.errors import NotSupported
from quarterdeck.machines.guest import ProtocolType
from quarterdeck.machines.qga.cadence import Cadence
from quarterdeck.machines.qga.qga import QgaProtocol
from quarterdeck.machines.qga.structures import GuestExec
from quarterdeck.machines.qga.wrapper import MARKER_VARIABLE

# Processes that end meanwhile are no error, hence the exit code. grep: whole variables, fixed text, names of files.
_LOOK: Final = """
cat /proc/[0-9]*/stat 2>/dev/null
echo
grep -lsxzF -e "$1" /proc/[0-9]*/environ
exit 0
"""
# Groups first, so that a process that forks quickly cannot outrun us.
_SIGNAL: Final = """
name=$1
shift
for target in "$@"; do kill -s "$name" -- "$target"; done 2>/dev/null
exit 0
"""

_STAT: Final = re.compile(
    rb"^(\d+) \((?s:.{0,64}?)\) (\S) (\d+) (\d+) (\d+) (?:\S+ ){13}(\S+) \S+ (\d+) ", re.MULTILINE
)
"""pid, state, parent, group, session, threads, start. Source: proc_pid_stat(5). The name in parentheses may be anything
of up to 64 bytes, with parentheses and ends of lines; it is too short to hold what follows it."""
_ENVIRON: Final = re.compile(rb"^/proc/(\d+)/environ$", re.MULTILINE)

_FIRST_LOOK_S: Final = 0.005
_SLOWEST_LOOK_S: Final = 0.25
_PROOF_TIMEOUT_S: Final = 30.0
"""A process that survives SIGKILL this long sits in the guest's kernel; then its end cannot be proven."""
_PATIENCE_S: Final = 30.0
"""With one look or one signal. /proc itself can hang, over a process that the guest's kernel holds."""


class GuestProcess(NamedTuple):
    pid: int
    parent: int
    group: int
    session: int
    started_ticks: int
    """Since the guest's boot. (pid, started_ticks) names a process for ever."""
    dead: bool
    """A zombie without living threads."""


class Look(NamedTuple):
    """The guest's processes at one moment."""

    processes: dict[int, GuestProcess]
    marked: frozenset[int]
    """The pids of those that carry the marker."""


class ProcessTree:
    """The processes of the command that carries `marker`."""

    def __init__(self, qga: QgaProtocol, shell: str, marker: str) -> None:
        self._qga = qga
        self._shell = shell
        self._marker = marker
        self.leader_pid: int | None = None
        """The command's own pid, once it is known."""
        self._leader: GuestProcess | None = None
        """As it was when it was first seen alive."""
        self._known: set[tuple[int, int]] = set()

    async def members(self) -> list[GuestProcess]:
        """Those that live. Empty: nothing is left, proven. Raises what `exec_and_wait` raises, and NotSupported."""
        program = GuestExec.simple(self._shell, ["-c", _LOOK, "sh", f"{MARKER_VARIABLE}={self._marker}"])
        output = (await self._qga.exec_and_wait(program, _PATIENCE_S)).stdout
        look = parse_look(output)
        if not look.processes:
            text = "the guest does not tell its processes"
            raise NotSupported(text, guest=self._qga.guest_name, protocol=ProtocolType.QGA)
        return self._members_in(look)

    async def signal_all(self, *numbers: Signals) -> list[GuestProcess]:
        """To every member, one signal after the other. Returns whom they were for; raises what `members` raises."""
        members = await self.members()
        await self._send(members, numbers)
        return members

    async def stop(self, grace_s: float) -> bool:
        """SIGTERM, up to `grace_s`, SIGKILL. True: proven that nothing is left. Raises what `members` raises."""
        clock = asyncio.get_running_loop().time
        # SIGCONT: a stopped process would keep its SIGTERM for later.
        if not await self.signal_all(Signals.SIGTERM, Signals.SIGCONT):
            return True
        if await self._gone_by(clock() + grace_s):
            return True
        deadline_s = clock() + _PROOF_TIMEOUT_S
        while clock() < deadline_s:
            # Again and again: whoever was forked between two looks gets the next one.
            await self.signal_all(Signals.SIGKILL)
            if await self._gone_by(clock() + _SLOWEST_LOOK_S):
                return True
        return False

    async def _gone_by(self, deadline_s: float) -> bool:
        clock = asyncio.get_running_loop().time
        cadence = Cadence(_FIRST_LOOK_S, _SLOWEST_LOOK_S)
        while await self.members():
            left_s = deadline_s - clock()
            if left_s <= 0:
                return False
            await asyncio.sleep(min(cadence.next_s(), left_s))
        return True

    async def _send(self, members: Iterable[GuestProcess], numbers: Iterable[Signals]) -> None:
        targets = [str(process.pid) for process in members]
        if not targets:
            return
        if any(process.group == self.leader_pid for process in members):
            targets.insert(0, f"-{self.leader_pid}")
        for number in numbers:
            name = number.name.removeprefix("SIG")
            program = GuestExec(path=self._shell, arg=["-c", _SIGNAL, "sh", name, *targets])
            await self._qga.exec_and_wait(program, _PATIENCE_S)

    # ---- Who belongs to it

    def _members_in(self, look: Look) -> list[GuestProcess]:
        numbers = self._trusted_numbers(look)
        found = {
            process.pid: process
            for process in look.processes.values()
            if process.pid in look.marked
            or (process.pid, process.started_ticks) in self._known
            or numbers & {process.pid, process.group, process.session}
        }
        children: dict[int, list[GuestProcess]] = {}
        for process in look.processes.values():
            children.setdefault(process.parent, []).append(process)
        unexplored = list(found)
        while unexplored:
            for child in children.get(unexplored.pop(), ()):
                if child.pid not in found:
                    found[child.pid] = child
                    unexplored.append(child.pid)
        living = [process for process in found.values() if not process.dead]
        self._known.update((process.pid, process.started_ticks) for process in living)
        return living

    def _trusted_numbers(self, look: Look) -> set[int]:
        """A process, session or group of this number is the command's, and not somebody's who got the number since."""
        if self.leader_pid is None:
            return set()
        leader = look.processes.get(self.leader_pid)
        if self._leader is None and leader is not None and not leader.dead:
            self._leader = leader
        if self._leader is not None:
            same = leader is None or leader.started_ticks == self._leader.started_ticks
            return {self.leader_pid} if same else set()
        # Never seen alive: then only a member that says so proves whose session it is.
        marked = (look.processes[pid] for pid in look.marked if pid in look.processes)
        return {self.leader_pid} & {
            number for process in marked for number in (process.group, process.session)
        }


def parse_look(output: bytes) -> Look:
    """What the guest printed. Lines that are none of ours are passed over."""
    processes = {}
    for match in _STAT.finditer(output):
        pid, parent, group, session, threads, started = (int(match[i]) for i in (1, 3, 4, 5, 6, 7))
        dead = match[2] in b"ZX" and threads <= 1
        processes[pid] = GuestProcess(pid, parent, group, session, started, dead)
    return Look(processes, frozenset(int(pid) for pid in _ENVIRON.findall(output)))
