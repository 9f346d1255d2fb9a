"""One connection to a SPICE server: bytes both ways, and what sockets raise as a MachineError. Knows no message."""

import asyncio
from typing import Final, Self, TypeVar

from quarterdeck.machines.errors import ConnectionEnded, MachineError, ProtocolUnavailable
from quarterdeck.machines.guest import Guest, ProtocolType
from quarterdeck.machines.sockets import dial

PIECE_BYTES: Final = 64 * 1024
"""Read at once, at most; the reader behind it stops the server at twice as much."""

_E = TypeVar("_E", bound=MachineError)


class SpiceStream:
    """Open until `close`. Has no timeout of its own: whoever waits here says how long."""

    def __init__(self, guest: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._guest = guest
        self._reader = reader
        self._writer = writer
        self._finished = False

    @classmethod
    async def open(cls, guest: Guest) -> Self:
        """Raises ProtocolUnavailable, ConnectFailed."""
        endpoint = guest.endpoints.get(ProtocolType.SPICE)
        if endpoint is None:
            raise ProtocolUnavailable("no server is known", guest=guest.name, protocol=ProtocolType.SPICE)
        connection = await dial(endpoint, guest=guest.name, protocol=ProtocolType.SPICE)
        try:
            reader, writer = await asyncio.open_connection(sock=connection, limit=PIECE_BYTES)
        except BaseException:
            connection.close()
            raise
        return cls(guest.name, reader, writer)

    def fault(self, error: type[_E], message: str) -> _E:
        """`error` of this guest, to be raised."""
        return error(message, guest=self._guest, protocol=ProtocolType.SPICE)

    async def read(self) -> bytes:
        """What there is, at least one byte and up to PIECE_BYTES. Raises ConnectionEnded."""
        try:
            piece = await self._reader.read(PIECE_BYTES)
        except OSError as error:
            raise self.fault(ConnectionEnded, str(error)) from error
        if not piece:
            raise self.fault(ConnectionEnded, "the server hung up")
        return piece

    async def read_exactly(self, size_bytes: int) -> bytes:
        """Raises ConnectionEnded, also for a part of them."""
        try:
            return await self._reader.readexactly(size_bytes)
        except asyncio.IncompleteReadError as error:
            message = f"the server hung up after {len(error.partial)} of {size_bytes} bytes"
            raise self.fault(ConnectionEnded, message) from error
        except OSError as error:
            raise self.fault(ConnectionEnded, str(error)) from error

    def write(self, content: bytes) -> None:
        """Never raises and never waits: `drain` tells whether the connection takes it."""
        if not self._finished and not self._writer.transport.is_closing():
            self._writer.write(content)

    async def drain(self) -> None:
        """Waits until little is left to be sent. Raises ConnectionEnded."""
        try:
            await self._writer.drain()
        except OSError as error:
            raise self.fault(ConnectionEnded, str(error)) from error
        if self._writer.transport.is_closing():
            raise self.fault(ConnectionEnded, "the connection is closed")

    def finish(self) -> None:
        """Nothing more will be written; what was, still reaches the server. Never raises."""
        self._finished = True
        try:
            self._writer.write_eof()
        except OSError:
            pass  # the server was faster

    def abort(self) -> None:
        """Closes at once; what was not sent yet is lost."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Aborts, and returns when the socket is gone. Never raises."""
        self.abort()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass  # it ended badly, and it ended
