"""The ways to a guest that commands go: QMP, programs by its agent, SPICE, and its channels.

Owns how the address of each is found, and what is looked at before anything is said: whether the guest runs, and
whether somebody listens. That all commands share a connection is sharing.py's. Called by execution.py and calls.py.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from quarterdeck.agent.guests.settings import GuestSettings
from quarterdeck.agent.guests.sharing import NotReached, SharedConnections
from quarterdeck.machines.errors import ConnectFailed, GuestPaused, MachineError
from quarterdeck.machines.guest import Guest, ProtocolType

# Each loads a library of its own, and many hypervisors use but one: they are imported with the first connection.
if TYPE_CHECKING:
    from quarterdeck.machines.discovery import SerialPort
    from quarterdeck.machines.qga import Scratch
    from quarterdeck.machines.qmp import QmpProtocol
    from quarterdeck.machines.spice import SpiceProtocol
    from quarterdeck.machines.virtio_serial import VirtioSerialProtocol

_ASK_AGAIN_S: Final = 30.0


class Connections:
    """Make it inside a running loop."""

    def __init__(self, settings: GuestSettings) -> None:
        self._settings = settings
        self._shared = SharedConnections(settings.idle_s)
        self._without_status: dict[str, tuple[float, MachineError]] = {}
        """Guests whose QMP could not be reached, why, and until when it is not tried again for its status alone."""

    @asynccontextmanager
    async def qmp(self, guest: Guest) -> "AsyncIterator[QmpProtocol]":
        """For as long as the context lasts, as the other three. Raises NotReached."""
        from quarterdeck.machines.qmp import QmpProtocolBuilder

        build = QmpProtocolBuilder().with_timeout(self._settings.timeout_s).build
        async with self._shared.use(guest, ProtocolType.QMP, build) as shared:
            yield shared.protocol

    @asynccontextmanager
    async def programs(self, guest: Guest) -> "AsyncIterator[Scratch]":
        """QGA, and a directory for output in the guest. Tells a paused guest from a silent agent, where QMP can."""
        from quarterdeck.machines.qga import QgaProtocolBuilder, Scratch

        builder = QgaProtocolBuilder().with_timeout(self._settings.timeout_s)
        if ProtocolType.QMP in guest.endpoints:
            builder = builder.with_status(partial(self._runs, guest))
        use = self._shared.use(guest, ProtocolType.QGA, builder.build, locate=self._running_with_agent)
        async with use as shared:
            if shared.scratch is None:
                shared.scratch = Scratch(shared.protocol)
            yield shared.scratch

    @asynccontextmanager
    async def spice(self, guest: Guest) -> "AsyncIterator[SpiceProtocol]":
        from quarterdeck.machines.spice import SpiceProtocolBuilder

        build = SpiceProtocolBuilder().with_timeout(self._settings.timeout_s).build
        use = self._shared.use(guest, ProtocolType.SPICE, build, locate=self._with_password)
        async with use as shared:
            yield shared.protocol

    @asynccontextmanager
    async def channel(self, guest: Guest, name: str) -> "AsyncIterator[VirtioSerialProtocol]":
        """The port `name` of the guest, for the caller alone while the context lasts."""
        from quarterdeck.machines.virtio_serial import VirtioSerialProtocolBuilder

        if ProtocolType.QMP in guest.endpoints:  # every time: whoever listened in the guest may have left
            guest = await self._with_open_port(guest, name)
        build = VirtioSerialProtocolBuilder().with_timeout(self._settings.timeout_s).with_channel(name).build
        async with self._shared.use(guest, ProtocolType.VIRTIO_SERIAL, build, channel=name) as shared:
            async with shared.turn:
                yield shared.protocol

    async def close(self) -> None:
        """All of them."""
        await self._shared.close()

    # ---- Whether the guest runs

    async def _check_running(self, guest: Guest) -> None:
        """Raises NotReached: a paused guest would let us wait in vain for its agent's first word."""
        try:
            running = await self._runs(guest)
        except MachineError:
            return  # nobody can say; the agent's own silence will
        if not running:
            paused = GuestPaused("the guest is paused", guest=guest.name, protocol=ProtocolType.QGA)
            raise NotReached(paused)

    async def _runs(self, guest: Guest) -> bool:
        """Raises MachineError: nobody can say. Soon again without asking, when QMP is somebody else's."""
        now_s = asyncio.get_running_loop().time()
        busy_until_s, cause = self._without_status.get(guest.name, (0.0, None))
        if cause is not None and now_s < busy_until_s:
            raise cause
        try:
            async with self.qmp(guest) as qmp:
                running = (await qmp.query_status()).running
        except NotReached as error:
            self._without_status[guest.name] = (now_s + _ASK_AGAIN_S, error.cause)
            raise error.cause from None
        self._without_status.pop(guest.name, None)
        return running

    # ---- Where it is reached. Each raises NotReached

    async def _running_with_agent(self, guest: Guest) -> Guest:
        """With its agent's socket, as QEMU itself tells it where nobody else does."""
        if ProtocolType.QMP not in guest.endpoints:
            return guest
        await self._check_running(guest)
        if ProtocolType.QGA in guest.endpoints:
            return guest
        from quarterdeck.machines.discovery import with_serial_ports

        return with_serial_ports(guest, await self._ports_of(guest))

    async def _with_open_port(self, guest: Guest, name: str) -> Guest:
        """With the channel's socket; or what is sent would be lost, or wait for ever."""
        from quarterdeck.machines.discovery import with_serial_ports

        ports = await self._ports_of(guest)
        for port in ports:
            if port.name == name:
                cause = None
                if not port.is_open:
                    cause = f"nothing in the guest has {name} open"
                elif port.is_taken and not await self._shared.has(guest, ProtocolType.VIRTIO_SERIAL, name):
                    cause = f"somebody else has the socket of {name}"
                if cause is not None:
                    kind = ProtocolType.VIRTIO_SERIAL
                    raise NotReached(ConnectFailed(cause, guest=guest.name, protocol=kind))
        return with_serial_ports(guest, ports)

    async def _ports_of(self, guest: Guest) -> "list[SerialPort]":
        from quarterdeck.machines.discovery import serial_ports_of

        async with self.qmp(guest) as qmp:
            try:
                return await serial_ports_of(qmp)
            except MachineError as error:
                raise NotReached(error) from error

    async def _with_password(self, guest: Guest) -> Guest:
        """With what its password file says."""
        if self._settings.spice_password_files is None or guest.spice_password is not None:
            return guest
        path = Path(self._settings.spice_password_files.replace("{guest}", guest.name))
        try:
            password = path.read_text().rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            text = f"password file {path}: {getattr(error, 'strerror', None) or 'no text'}"
            raise NotReached(ConnectFailed(text, guest=guest.name, protocol=ProtocolType.SPICE)) from error
        return msgspec.structs.replace(guest, spice_password=password)
