"""Connections to guests, shared by all commands: QEMU's sockets let in one client at a time.

Owns when one is opened (when it is first needed), closed (when nobody has used it for a while) and opened anew. Called
by execution.py and calls.py.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, cast

import msgspec
import structlog

from quarterdeck.agent.guests.settings import GuestSettings
from quarterdeck.machines.errors import ConnectFailed, ConnectionEnded, GuestPaused, MachineError
from quarterdeck.machines.guest import Guest, ProtocolType
from quarterdeck.machines.protocol import Protocol

# Each loads a library of its own, and many hypervisors use but one: they are imported with the first connection.
if TYPE_CHECKING:
    from quarterdeck.machines.discovery import SerialPort
    from quarterdeck.machines.qga import Scratch
    from quarterdeck.machines.qmp import QmpProtocol
    from quarterdeck.machines.spice import SpiceProtocol
    from quarterdeck.machines.virtio_serial import VirtioSerialProtocol

log = structlog.get_logger()

P = TypeVar("P", bound=Protocol)

_Key = tuple[str, ProtocolType, str]
"""Guest, protocol, channel."""
_NO_CHANNEL: Final = ""
_AGAIN_S: Final = 0.2
_ASK_AGAIN_S: Final = 30.0
_FAREWELL_S: Final = 2.0
"""For removing our directory in a guest that we leave."""


class NotReached(Exception):
    """There is no connection: nothing was said to the guest. `cause`: why."""

    def __init__(self, cause: MachineError) -> None:
        super().__init__(cause.message)
        self.cause = cause


class _Shared:
    """One connection, and who uses it."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.guest: Guest | None = None
        """As it was when the connection was made."""
        self.opening = asyncio.Lock()
        self.turn = asyncio.Lock()
        """For protocols whose answers name no question."""
        self.scratch: Scratch | None = None
        """Of QGA."""
        self.users = 0
        self.idle_timer: asyncio.TimerHandle | None = None


class Connections:
    """Make it inside a running loop."""

    def __init__(self, settings: GuestSettings) -> None:
        self._settings = settings
        self._shared: dict[_Key, _Shared] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._without_status: dict[str, tuple[float, MachineError]] = {}
        """Guests whose QMP could not be reached, why, and until when it is not tried again for its status alone."""

    @asynccontextmanager
    async def qmp(self, guest: Guest) -> "AsyncIterator[QmpProtocol]":
        """For as long as the context lasts, as the other three. Raises NotReached."""
        from quarterdeck.machines.qmp import QmpProtocolBuilder

        async with self._use(
            guest, ProtocolType.QMP, QmpProtocolBuilder().with_timeout(self._settings.timeout_s).build
        ) as protocol:
            yield protocol

    @asynccontextmanager
    async def programs(self, guest: Guest) -> "AsyncIterator[Scratch]":
        """QGA, and a directory for output in the guest. Tells a paused guest from a silent agent, where QMP can."""
        from quarterdeck.machines.qga import QgaProtocolBuilder, Scratch

        builder = QgaProtocolBuilder().with_timeout(self._settings.timeout_s)
        if ProtocolType.QMP in guest.endpoints:
            if not await self._has(guest, ProtocolType.QGA):
                await self._check_running(guest)
            builder = builder.with_status(partial(self._runs, guest))
            if ProtocolType.QGA not in guest.endpoints:
                guest = await self._with_agent_port(guest)
        async with self._use(guest, ProtocolType.QGA, builder.build) as qga:
            shared = self._shared[guest.name, ProtocolType.QGA, _NO_CHANNEL]
            if shared.scratch is None:
                shared.scratch = Scratch(qga)
            yield shared.scratch

    @asynccontextmanager
    async def spice(self, guest: Guest) -> "AsyncIterator[SpiceProtocol]":
        from quarterdeck.machines.spice import SpiceProtocolBuilder

        guest = self._with_password(guest)
        async with self._use(
            guest, ProtocolType.SPICE, SpiceProtocolBuilder().with_timeout(self._settings.timeout_s).build
        ) as protocol:
            yield protocol

    @asynccontextmanager
    async def channel(self, guest: Guest, name: str) -> "AsyncIterator[VirtioSerialProtocol]":
        """The port `name` of the guest, for the caller alone while the context lasts."""
        from quarterdeck.machines.virtio_serial import VirtioSerialProtocolBuilder

        if ProtocolType.QMP in guest.endpoints:
            guest = await self._with_open_port(guest, name)
        build = VirtioSerialProtocolBuilder().with_timeout(self._settings.timeout_s).with_channel(name).build
        async with self._use(guest, ProtocolType.VIRTIO_SERIAL, build, name) as protocol:
            async with self._shared[guest.name, ProtocolType.VIRTIO_SERIAL, name].turn:
                yield protocol

    async def close(self) -> None:
        """All of them."""
        for of_qga in (True, False):  # whoever leaves a guest's agent asks QMP once more
            for key in [key for key in self._shared if (key[1] is ProtocolType.QGA) is of_qga]:
                self._close_idle(key)
            await asyncio.gather(*self._closing)

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

    @asynccontextmanager
    async def _use(
        self, guest: Guest, protocol_type: ProtocolType, build: Callable[[], P], channel: str = _NO_CHANNEL
    ) -> AsyncIterator[P]:
        key = (guest.name, protocol_type, channel)
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared(build())
        shared.users += 1
        if shared.idle_timer is not None:
            shared.idle_timer.cancel()
            shared.idle_timer = None
        try:
            await self._connect(shared, guest)
            yield cast(P, shared.protocol)
        finally:
            shared.users -= 1
            if not shared.users:
                loop = asyncio.get_running_loop()
                shared.idle_timer = loop.call_later(self._settings.idle_s, self._close_idle, key)

    async def _connect(self, shared: _Shared, guest: Guest) -> None:
        async with shared.opening:
            if shared.guest == guest and await shared.protocol.is_connected():
                return
            try:
                try:
                    await shared.protocol.connect(guest)
                except ConnectionEnded:  # the other side may just have been letting go of somebody before us
                    await asyncio.sleep(_AGAIN_S)
                    await shared.protocol.connect(guest)
            except MachineError as error:
                raise NotReached(error) from error
            shared.guest = guest
            log.debug("guests.connected", guest=guest.name, protocol=shared.protocol.protocol_type())

    def _close_idle(self, key: _Key) -> None:
        shared = self._shared.pop(key)
        if shared.idle_timer is not None:
            shared.idle_timer.cancel()
        task = asyncio.create_task(_leave(shared), name="guests.disconnect")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _with_agent_port(self, guest: Guest) -> Guest:
        """With the agent's socket, as QEMU itself tells it. Raises NotReached."""
        from quarterdeck.machines.discovery import with_serial_ports

        return with_serial_ports(guest, await self._ports_of(guest))

    async def _with_open_port(self, guest: Guest, name: str) -> Guest:
        """With the channel's socket. Raises NotReached when what is sent would be lost, or wait for ever."""
        from quarterdeck.machines.discovery import with_serial_ports

        ports = await self._ports_of(guest)
        for port in ports:
            if port.name == name:
                cause = None
                if not port.is_open:
                    cause = f"nothing in the guest has {name} open"
                elif port.is_taken and not await self._has(guest, ProtocolType.VIRTIO_SERIAL, name):
                    cause = f"somebody else has the socket of {name}"
                if cause is not None:
                    kind = ProtocolType.VIRTIO_SERIAL
                    raise NotReached(ConnectFailed(cause, guest=guest.name, protocol=kind))
        return with_serial_ports(guest, ports)

    async def _ports_of(self, guest: Guest) -> "list[SerialPort]":
        """Raises NotReached."""
        from quarterdeck.machines.discovery import serial_ports_of

        async with self.qmp(guest) as qmp:
            try:
                return await serial_ports_of(qmp)
            except MachineError as error:
                raise NotReached(error) from error

    async def _has(self, guest: Guest, protocol_type: ProtocolType, channel: str = _NO_CHANNEL) -> bool:
        shared = self._shared.get((guest.name, protocol_type, channel))
        return shared is not None and await shared.protocol.is_connected()

    def _with_password(self, guest: Guest) -> Guest:
        """Raises NotReached when its file cannot be read."""
        if self._settings.spice_password_files is None or guest.spice_password is not None:
            return guest
        path = Path(self._settings.spice_password_files.replace("{guest}", guest.name))
        try:
            password = path.read_text().rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            text = f"password file {path}: {getattr(error, 'strerror', None) or 'no text'}"
            raise NotReached(ConnectFailed(text, guest=guest.name, protocol=ProtocolType.SPICE)) from error
        return msgspec.structs.replace(guest, spice_password=password)


async def _leave(shared: _Shared) -> None:
    if shared.scratch is not None and await shared.protocol.is_connected():
        try:
            async with asyncio.timeout(_FAREWELL_S):
                await shared.scratch.remove()
        except (MachineError, TimeoutError):
            pass  # it stays in the guest, empty
    await shared.protocol.disconnect()
