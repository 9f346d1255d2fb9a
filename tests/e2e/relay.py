"""A TCP relay on loopback whose connections a test may cut, as a network does: without a word to either end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_READ_BYTES: Final = 64 * 1024


class Relay:
    """Forwards to `host:port`. While `closed` is True, new connections are dropped as soon as they come."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self.closed = False
        self.port = 0

    @classmethod
    @asynccontextmanager
    async def running(cls, host: str, port: int) -> AsyncIterator["Relay"]:
        relay = cls(host, port)
        server = await asyncio.start_server(relay._relay, "127.0.0.1", 0)
        relay.port = server.sockets[0].getsockname()[1]
        try:
            yield relay
        finally:
            server.close()
            relay.cut()
            await server.wait_closed()

    def cut(self) -> None:
        """Drops all connections of this moment, with whatever was under way."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.closed:
            return writer.transport.abort()
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, there_writer}
        try:
            await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))
        finally:
            self._writers -= {writer, there_writer}
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(_READ_BYTES):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass  # cut, by us or by an end: the other half is told below
    finally:
        writer.transport.abort()
