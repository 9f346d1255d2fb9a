"""A look at all processes of the host, through /proc. Knows nothing of commands but the marker that they carry.

Source: proc_pid_stat(5), proc_pid_environ(5). A look is shared by everybody who asks within a few milliseconds, so that
terminating many commands at once does not read /proc for each of them anew.
"""

import os
import signal
import time
from pathlib import Path
from typing import Final, NamedTuple

from quarterdeck.agent.executor.journal.entries import CommandKey

MARKER_VARIABLE: Final = "QUARTERDECK_COMMAND"
"""In the environment of every process of a command, unless it was cleared on purpose; see `marker_of`."""

_MARKER_PREFIX: Final = f"{MARKER_VARIABLE}=".encode()
_FRESH_S: Final = 0.005
_YOUNG_S: Final = 1.0
"""Between fork and exec a child shows its parent's environment: what says "no marker" that early may say otherwise
soon."""
_BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def boot_id() -> str:
    """Changes with every boot of the host. Empty where the kernel does not tell."""
    try:
        return _BOOT_ID_FILE.read_text().strip()
    except OSError:
        return ""


def marker_of(key: CommandKey) -> str:
    """What processes of this command carry in MARKER_VARIABLE."""
    return f"{key.command_id}.{key.attempt}"


class ProcessStat(NamedTuple):
    pid: int
    parent: int
    group: int
    session: int
    started_ticks: int
    """Since boot. (pid, started_ticks) names a process for ever."""
    dead: bool
    """A zombie without living threads."""


class Snapshot(NamedTuple):
    """All processes at one moment."""

    processes: dict[int, ProcessStat]
    children: dict[int, list[int]]


class ProcTable:
    """Takes snapshots, and remembers which process carries which marker."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._taken_s = 0.0
        self._markers: dict[tuple[int, int], str | None] = {}

    def snapshot(self) -> Snapshot:
        """At most _FRESH_S old."""
        now_s = time.monotonic()
        if self._snapshot is None or now_s - self._taken_s > _FRESH_S:
            self._snapshot = _read_all()
            self._taken_s = time.monotonic()
            alive = {(stat.pid, stat.started_ticks) for stat in self._snapshot.processes.values()}
            self._markers = {key: marker for key, marker in self._markers.items() if key in alive}
        return self._snapshot

    def expire(self) -> None:
        """The next snapshot is a new one, e.g. after signals were sent."""
        self._snapshot = None

    def marker(self, stat: ProcessStat) -> str | None:
        """The command that `stat` says it belongs to. None: it does not say, or may not be asked."""
        key = (stat.pid, stat.started_ticks)
        if key not in self._markers:
            marker = _read_marker(stat.pid)
            if marker is None and _age_s(stat) < _YOUNG_S:
                return None
            # Kept although a later exec may clear the environment: it was a process of that command once.
            self._markers[key] = marker
        return self._markers[key]


def read_stat(pid: int) -> ProcessStat | None:
    """None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - three times faster than Path, and read by the thousand
            text = file.read()
    except OSError:
        return None
    # The name in parentheses may contain anything, also parentheses and spaces.
    fields = text[text.rindex(b")") + 2 :].split()
    state, threads = fields[0], int(fields[17])
    return ProcessStat(
        pid=pid,
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        started_ticks=int(fields[19]),
        dead=state in b"ZX" and threads <= 1,
    )


def send_signal(stat: ProcessStat, number: signal.Signals) -> None:
    """Signals exactly that process, or nobody when it is gone and its pid belongs to another one."""
    try:
        pidfd = os.pidfd_open(stat.pid)
    except OSError:
        return
    try:
        current = read_stat(stat.pid)
        if current is not None and current.started_ticks == stat.started_ticks:
            signal.pidfd_send_signal(pidfd, number)
    except OSError:
        pass  # it went in between, or belongs to somebody else and is not ours to signal
    finally:
        os.close(pidfd)


def _read_all() -> Snapshot:
    processes: dict[int, ProcessStat] = {}
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are enough
        if name.isdigit() and (stat := read_stat(int(name))) is not None:
            processes[stat.pid] = stat
            children.setdefault(stat.parent, []).append(stat.pid)
    return Snapshot(processes, children)


def _read_marker(pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - as above
            environment = file.read()
    except OSError:
        return None
    for variable in environment.split(b"\0"):
        if variable.startswith(_MARKER_PREFIX):
            return variable[len(_MARKER_PREFIX) :].decode(errors="replace")
    return None


def _age_s(stat: ProcessStat) -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) - stat.started_ticks / _TICKS_PER_S
