"""Child processes that never outlive this one.

Owns spawning (own session, log file, death signal), waiting and stopping. Knows nothing of what the child is:
`nats_server` and `redis_server` build on it, and so does the supervisor for the services. Not bound to an
event loop, so that a fixture may start a child in one loop and stop it in another.
"""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

_PR_SET_PDEATHSIG = 1
"""Source: linux/prctl.h, prctl(2)."""

_POLL_S = 0.02
"""How often a child is looked at where the system has no pidfd (macOS)."""


class ChildSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to start one child process."""

    name: str
    """Short role name for logs and errors, such as `nats`."""
    argv: tuple[str, ...]
    cwd: Path
    log_path: Path
    """Standard output and error are appended here, so that a restart keeps the story before it."""
    env: Mapping[str, str] | None = None
    """The child's whole environment; None inherits ours."""
    death_signal: signal.Signals = signal.SIGKILL
    """Sent by the kernel when this process dies, however it dies (Linux only). To the kernel, the parent is
    the thread that spawned the child: spawn from one that lives as long as the process. Source: prctl(2)."""


class Child:
    """One running (or ended) child process."""

    def __init__(self, settings: ChildSettings, process: subprocess.Popen[bytes]) -> None:
        self.settings = settings
        self._process = process

    @classmethod
    def spawn(cls, settings: ChildSettings) -> "Child":
        """Starts the child; returns at once. Raises OSError when the executable cannot run.

        The child gets a session of its own: Ctrl-C on our terminal reaches us alone, and we stop it in order.
        """
        settings.log_path.parent.mkdir(parents=True, exist_ok=True)
        with settings.log_path.open("ab") as log:
            process = subprocess.Popen(
                settings.argv,
                cwd=settings.cwd,
                env=settings.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_death_signal_setter(settings.death_signal),  # noqa: PLW1509 - nothing but two syscalls
            )
        return cls(settings, process)

    @property
    def pid(self) -> int:
        """Process id; stays readable after the end."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while running; negative is the signal that ended it."""
        return self._process.poll()

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal; does nothing when the process has already been reaped."""
        self._process.send_signal(number)

    async def wait(self) -> int:
        """Waits for the end of the process, reaps it and returns its exit code."""
        if (code := self._process.poll()) is not None:
            return code
        if hasattr(os, "pidfd_open"):
            await _pidfd_readable(self.pid)
            return self._process.wait()
        while (code := self._process.poll()) is None:  # noqa: ASYNC110 - no event exists to wait for
            await asyncio.sleep(_POLL_S)
        return code

    async def stop(self, grace_s: float = 5.0) -> int:
        """SIGTERM, then SIGKILL to its whole process group after `grace_s`. Returns the exit code."""
        self.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                return await self.wait()
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """SIGKILL to its process group, at once. Returns the exit code."""
        if self.running:
            # Its own session makes the pid a process group id, and an unreaped leader keeps the id ours.
            os.killpg(self.pid, signal.SIGKILL)
        return await self.wait()

    def log_tail(self, max_bytes: int = 2000) -> str:
        """The last lines of the log, for an error message."""
        with self.settings.log_path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - max_bytes))
            return log.read().decode(errors="replace")


def _death_signal_setter(death_signal: signal.Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork: no loader lock in the child
    parent = os.getpid()

    def set_death_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # the parent died before prctl: no signal will ever come
            os._exit(1)

    return set_death_signal


async def _pidfd_readable(pid: int) -> None:
    """Returns when the process of `pid`, a child not reaped yet, has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    pidfd = os.pidfd_open(pid)
    try:
        loop.add_reader(pidfd, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
