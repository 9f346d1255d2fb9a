"""VirtioSerialProtocol: the host's end of one virtio-serial port, as bytes both ways.

Owns the connection and its bounds; what the bytes mean is between the program in the guest and our caller. QEMU listens
on the host's end, takes one client at a time, and does not tell a client that is not the first. Nor does it tell here
whether the guest has the port open; what is sent before that is lost. SerialPort.is_open of discovery tells.
"""

import asyncio
from typing import Final

import structlog

from quarterdeck.machines.errors import (
    ConnectFailed,
    ConnectionEnded,
    MachineError,
    ProtocolUnavailable,
    TimedOut,
)
from quarterdeck.machines.guest import Endpoint, Guest, ProtocolType
from quarterdeck.machines.protocol import DEFAULT_TIMEOUT_S
from quarterdeck.machines.sockets import dial, has_hung_up

log = structlog.get_logger()

MAX_UNREAD_BYTES: Final = 64 * 1024
"""Twice this is read ahead; then the guest's writer waits."""
MAX_UNSENT_BYTES: Final = 1024 * 1024
"""What may lie here because the guest does not read. Beyond it a send is refused."""


class VirtioSerialProtocol:
    """A Protocol. Made by VirtioSerialProtocolBuilder. Sends take turns, and so do receives."""

    def __init__(self, *, channel: str | None, timeout_s: float) -> None:
        self._channel = channel
        self._timeout_s = timeout_s
        self._guest = "?"
        self._turn = asyncio.Lock()
        self._receiving = asyncio.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def guest_name(self) -> str:
        """`?` before the first connect."""
        return self._guest

    @property
    def timeout_s(self) -> float:
        return self._timeout_s

    async def connect(self, guest: Guest) -> None:
        """Raises ProtocolUnavailable without such a channel, ConnectFailed, TimedOut."""
        async with self._turn:
            await self._close()
            self._guest = guest.name
            endpoint = self._endpoint_of(guest)
            try:
                async with asyncio.timeout(self._timeout_s):
                    connection = await dial(endpoint, guest=guest.name, protocol=ProtocolType.VIRTIO_SERIAL)
            except TimeoutError as error:
                raise self._error(TimedOut, f"{endpoint}: no connection in {self._timeout_s:g} s") from error
            try:
                self._reader, self._writer = await asyncio.open_connection(
                    sock=connection, limit=MAX_UNREAD_BYTES
                )
            except BaseException as error:
                connection.close()
                if isinstance(error, OSError):
                    raise self._error(ConnectFailed, f"{endpoint}: {error}") from error
                raise
            log.debug("virtio_serial.connected", guest=guest.name)

    async def disconnect(self) -> None:
        async with self._turn:
            await self._close()

    async def is_connected(self) -> bool:
        """What a QEMU that went away had written before may still be received."""
        return self._writer is not None and not has_hung_up(self._writer)

    def protocol_type(self) -> ProtocolType:
        return ProtocolType.VIRTIO_SERIAL

    async def send(self, content: bytes) -> None:
        """All of `content`, behind what was sent before. Raises ConnectionEnded; TimedOut when the guest does not read.

        After TimedOut the content may still arrive, whole; but when MAX_UNSENT_BYTES lie here already, it does not.
        """
        if self._writer is None:
            raise self._error(ConnectionEnded, "not connected")
        writer = self._writer
        if writer.transport.get_write_buffer_size() >= MAX_UNSENT_BYTES:
            raise self._error(TimedOut, f"the guest has not read {MAX_UNSENT_BYTES} bytes before these")
        try:
            async with asyncio.timeout(self._timeout_s):
                writer.write(content)
                await writer.drain()
        except TimeoutError as error:
            raise self._error(TimedOut, f"the guest read nothing in {self._timeout_s:g} s") from error
        except OSError as error:
            raise await self._ended(writer, error) from error

    async def receive(self) -> bytes:
        """The next bytes, as many as are there. Raises ConnectionEnded; TimedOut, after which nothing is lost."""
        try:
            async with asyncio.timeout(self._timeout_s), self._receiving:
                return await self._receive()
        except TimeoutError as error:
            raise self._error(TimedOut, f"the guest wrote nothing in {self._timeout_s:g} s") from error

    async def _receive(self) -> bytes:
        reader, writer = self._reader, self._writer
        if reader is None or writer is None:
            raise self._error(ConnectionEnded, "not connected")
        try:
            content = await reader.read(MAX_UNREAD_BYTES)
        except OSError as error:
            raise await self._ended(writer, error) from error
        if not content:
            raise await self._ended(writer, None)
        return content

    def _endpoint_of(self, guest: Guest) -> Endpoint:
        if self._channel is None:
            if len(guest.channels) != 1:
                raise self._error(
                    ProtocolUnavailable, f"{len(guest.channels)} channels: choose one by its name"
                )
            return next(iter(guest.channels.values()))
        endpoint = guest.channels.get(self._channel)
        if endpoint is None:
            raise self._error(ProtocolUnavailable, f"no channel {self._channel!r} is known")
        return endpoint

    async def _ended(self, writer: asyncio.StreamWriter, cause: OSError | None) -> MachineError:
        """`writer`: of the connection that ended; a newer one, which another task made meanwhile, is left alone."""
        async with self._turn:
            if self._writer is writer:
                await self._close()
        return self._error(ConnectionEnded, "QEMU went away" if cause is None else str(cause))

    async def _close(self) -> None:
        writer, self._writer, self._reader = self._writer, None, None
        if writer is None:
            return
        writer.transport.abort()  # the guest may never read what is left
        try:
            await writer.wait_closed()
        except OSError:
            pass  # closed all the same
        log.debug("virtio_serial.disconnected", guest=self._guest)

    def _error(self, kind: type[MachineError], text: str) -> MachineError:
        return kind(text, guest=self._guest, protocol=ProtocolType.VIRTIO_SERIAL)


class VirtioSerialProtocolBuilder:
    """A ProtocolBuilder."""

    def __init__(self, *, channel: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._channel = channel
        self._timeout_s = timeout_s

    def with_channel(self, name: str) -> "VirtioSerialProtocolBuilder":
        """The port's name as the guest sees it, such as `org.example.echo`. Without: the guest's only one."""
        return VirtioSerialProtocolBuilder(channel=name, timeout_s=self._timeout_s)

    def with_timeout(self, timeout_s: float) -> "VirtioSerialProtocolBuilder":
        """For a connect, a send, and the wait for what the guest writes."""
        return VirtioSerialProtocolBuilder(channel=self._channel, timeout_s=timeout_s)

    def build(self) -> VirtioSerialProtocol:
        return VirtioSerialProtocol(channel=self._channel, timeout_s=self._timeout_s)

    def protocol_type(self) -> ProtocolType:
        return ProtocolType.VIRTIO_SERIAL
