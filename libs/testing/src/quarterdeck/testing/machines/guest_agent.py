"""qemu-ga on this host: a real guest agent on a Unix socket, without a guest around it.

Owns its life. It runs commands as whoever runs the tests, on the machine that runs them; what would harm that machine
is switched off. Needs Debian's qemu-guest-agent.
"""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

import psutil

from quarterdeck.embedded.children import Child, ChildSettings
from quarterdeck.testing.machines.sockets import listening

_DAEMONS: Final = "/usr/sbin:/sbin"
"""Where Debian has it, and a plain user's PATH does not look."""

HARMFUL: Final = (
    "guest-shutdown",
    "guest-suspend-disk",
    "guest-suspend-ram",
    "guest-suspend-hybrid",
    "guest-fsfreeze-freeze",
    "guest-fsfreeze-freeze-list",
    "guest-fsfreeze-thaw",
    "guest-fstrim",
    "guest-set-time",
    "guest-set-user-password",
    "guest-set-vcpus",
    "guest-set-memory-blocks",
    "guest-ssh-add-authorized-keys",
    "guest-ssh-remove-authorized-keys",
)
"""The agent refuses these: they would reach the machine that runs the tests."""


class HostGuestAgent:
    """One qemu-ga. It serves one client at a time; the next one waits for its turn."""

    def __init__(self, directory: Path) -> None:
        """`directory`: gets the socket, the agent's state and its log."""
        self.socket_path = directory / "qga.sock"
        self._directory = directory
        self._child: Child | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls, directory: Path) -> AsyncIterator[Self]:
        agent = cls(directory)
        try:
            await agent.start()
            yield agent
        finally:
            await agent.kill()

    @property
    def child(self) -> Child:
        """The process: pause it to have an agent that is silent. Raises RuntimeError before the start."""
        if self._child is None:
            raise RuntimeError("qemu-ga was not started yet")
        return self._child

    async def start(self) -> None:
        """Starts it and waits until it listens; may be called again after `kill`. Raises ServerStartFailed."""
        self.socket_path.unlink(missing_ok=True)  # a killed agent leaves its socket behind
        self._child = Child.spawn(
            ChildSettings(
                name="qemu-ga",
                argv=(
                    shutil.which("qemu-ga", path=_DAEMONS) or "qemu-ga",
                    *("--method", "unix-listen", "--path", str(self.socket_path)),
                    *("--statedir", str(self._directory)),
                    f"-b{','.join(HARMFUL)}",
                ),
                cwd=self._directory,
                log_path=self._directory / "qemu-ga.log",
            )
        )
        await listening(self._child, self.socket_path)

    async def kill(self) -> None:
        """SIGKILL to it and to every command that it still has. Any number of calls."""
        if self._child is None or not self._child.running:
            return
        commands = psutil.Process(self._child.pid).children(recursive=True)
        await self._child.kill()
        for command in commands:
            try:
                command.kill()
            except psutil.NoSuchProcess:  # ended meanwhile
                continue
