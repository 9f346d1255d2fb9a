"""A QEMU process with two monitors.

Owns its life and its sockets; what kind of machine it is, the options say. `booted_guest` builds on it, and tests start
their own. Needs Debian's qemu-system-x86.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

from quarterdeck.embedded.children import Child, ChildSettings
from quarterdeck.testing.machines.sockets import listening

PROGRAM: Final = "qemu-system-x86_64"

NO_MACHINE: Final = ("-machine", "none", "-S")
"""Answers on its monitors after some 30 ms, and has nothing that could run."""


class QemuProcess:
    """One virtual machine. QEMU takes one client per monitor, hence two of them."""

    def __init__(self, directory: Path, *options: str) -> None:
        """`directory`: gets the sockets and `qemu.log`; its path must leave room for a socket's name in 107 bytes."""
        self.qmp_path = directory / "qmp.sock"
        self.second_qmp_path = directory / "second-qmp.sock"
        self._directory = directory
        self._options = options
        self._child: Child | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls, directory: Path, *options: str) -> AsyncIterator[Self]:
        """`options`: QEMU's, beside those of the monitors."""
        qemu = cls(directory, *options)
        try:
            await qemu.start()
            yield qemu
        finally:
            await qemu.kill()

    @property
    def child(self) -> Child:
        """The process. Raises RuntimeError before the start."""
        if self._child is None:
            raise RuntimeError("QEMU was not started yet")
        return self._child

    async def start(self) -> None:
        """Starts QEMU and waits for its monitors. Raises ServerStartFailed."""
        self._child = Child.spawn(
            ChildSettings(
                name="qemu",
                argv=(
                    *(PROGRAM, "-nodefaults", "-no-user-config", "-display", "none"),
                    *_monitor(self.qmp_path),
                    *_monitor(self.second_qmp_path),
                    *self._options,
                ),
                cwd=self._directory,
                log_path=self._directory / "qemu.log",
            )
        )
        await listening(self._child, self.qmp_path, self.second_qmp_path)

    async def kill(self) -> None:
        """SIGKILL, as when the host takes the machine away. Any number of calls."""
        if self._child is not None:
            await self._child.kill()

    def log(self) -> str:
        """What QEMU wrote, such as the lines of `-trace`."""
        return self.child.settings.log_path.read_text(encoding="utf-8", errors="replace")


def _monitor(path: Path) -> tuple[str, str]:
    return ("-qmp", f"unix:{path},server=on,wait=off")
