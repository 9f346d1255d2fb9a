"""A small Linux in a real virtual machine, a few seconds after its start, with every way to a guest.

Owns its devices and where their other ends are; what runs inside is in `tools/guest`. Emulated even where there is KVM:
the same on every machine. Called by the fixtures, and by tests that break their guest.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

import msgspec

from quarterdeck.embedded.server_errors import ServerStartFailed
from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.machines.qemu import QemuProcess
from quarterdeck.testing.machines.sockets import listening

AGENT_CHANNEL: Final = "org.qemu.guest_agent.0"
ECHO_CHANNEL: Final = "org.quarterdeck.echo"
"""What is written to it comes back."""

SPICE_PASSWORD: Final = "open sesame"

KERNEL_OPTIONS: Final = "console=ttyS0 quiet panic=-1 mitigations=off audit=0 lsm=capability init_on_alloc=0"
"""A panic ends QEMU at once. What keeps attackers out is left out: without it a guest boots, and starts a command, in
four fifths of the CPU time (measured)."""

READY: Final = "guest is ready"
"""Said by tools/guest/etc/report-ready."""

BOOTED_WITHIN_S: Final = 100
"""A bound for a guest that never boots, not an expectation: it takes some 3 s."""

_KEY_EVENT: Final = 1
"""EV_KEY. Source: linux/input-event-codes.h."""
_INPUT: Final = re.compile(r"^input((?: [0-9a-f]{4}){12})", re.MULTILINE)
"""A line of tools/guest/etc/report-keys: struct input_event as twelve 16-bit words."""


class KeyEvent(msgspec.Struct, frozen=True):
    """A key that went down or up in the guest."""

    code: int
    """Linux's number of the key; for the keys of the first PC keyboards it is the set-1 scancode."""
    is_down: bool


class BootedGuest:
    """One virtual machine. Its sockets are in a directory of its name, as on a host with many."""

    def __init__(self, directory: Path, image: Path, *, name: str = "vm1") -> None:
        """`directory`: gets `name/qmp.sock` and its like. `image`: has `vmlinuz` and `initramfs.cpio`."""
        self.name = name
        self.directory = directory
        self._image = image.resolve()
        own = directory / name
        self.qga_path = own / "qga.sock"
        self.echo_path = own / "echo.sock"
        self.spice_path = own / "spice.sock"
        self._console_path = own / "console.log"
        self.qemu = QemuProcess(own, *self._options())
        self.qmp_path = self.qemu.qmp_path
        self.second_qmp_path = self.qemu.second_qmp_path
        self.guest = Guest(
            name=name,
            endpoints={
                ProtocolType.QMP: UnixEndpoint(str(self.qmp_path)),
                ProtocolType.QGA: UnixEndpoint(str(self.qga_path)),
                ProtocolType.SPICE: UnixEndpoint(str(self.spice_path)),
            },
            channels={ECHO_CHANNEL: UnixEndpoint(str(self.echo_path))},
            spice_password=SPICE_PASSWORD,
        )

    @classmethod
    @asynccontextmanager
    async def running(cls, directory: Path, image: Path, *, name: str = "vm1") -> AsyncIterator[Self]:
        guest = cls(directory, image, name=name)
        try:
            await guest.start()
            yield guest
        finally:
            await guest.kill()

    async def start(self) -> None:
        """Boots it and waits until everything in it listens. Raises ServerStartFailed."""
        self._console_path.parent.mkdir(parents=True)
        self._console_path.touch()
        await self.qemu.start()
        await listening(self.qemu.child, self.qga_path, self.echo_path, self.spice_path)
        try:
            await eventually(self._is_ready, within_s=BOOTED_WITHIN_S)
        except TimeoutError:
            raise self._start_failed(None) from None

    async def kill(self) -> None:
        """Takes the machine away, as a crash of the host's QEMU does. Any number of calls."""
        await self.qemu.kill()

    def console(self) -> str:
        """What kernel and programs wrote so far."""
        return self._console_path.read_text(encoding="utf-8", errors="replace")

    def key_events(self) -> list[KeyEvent]:
        """What the guest's input devices reported so far, without the repeats of a key that is held."""
        events = []
        for line in _INPUT.finditer(self.console()):
            *_time, kind, code, value, _high = (int(word, 16) for word in line[1].split())
            if kind == _KEY_EVENT and value in (0, 1):
                events.append(KeyEvent(code, bool(value)))
        return events

    def _is_ready(self) -> bool:
        exit_code = self.qemu.child.exit_code
        if exit_code is not None:  # a panic ends QEMU too
            raise self._start_failed(exit_code)
        return READY in self.console()

    def _start_failed(self, exit_code: int | None) -> ServerStartFailed:
        return ServerStartFailed("guest", exit_code, self._console_path, f"{self.qemu.log()}{self.console()}")

    def _options(self) -> tuple[str, ...]:
        return (
            *("-machine", "q35", "-accel", "tcg,tb-size=64", "-cpu", "max", "-m", "256", "-no-reboot"),
            *("-kernel", str(self._image / "vmlinuz"), "-initrd", str(self._image / "initramfs.cpio")),
            *("-append", KERNEL_OPTIONS),
            *("-serial", f"file:{self._console_path}"),
            *("-device", "virtio-serial-pci"),
            *_port("qga", AGENT_CHANNEL, self.qga_path),
            *_port("echo", ECHO_CHANNEL, self.echo_path),
            *("-object", f"secret,id=ticket,data={SPICE_PASSWORD}"),
            *("-spice", f"unix=on,addr={self.spice_path},password-secret=ticket"),
        )


def _port(identifier: str, channel: str, path: Path) -> tuple[str, ...]:
    # Without an id of its own, QEMU announces no change of the port.
    return (
        *("-chardev", f"socket,id={identifier}-socket,path={path},server=on,wait=off"),
        *("-device", f"virtserialport,id={identifier},chardev={identifier}-socket,name={channel}"),
    )
