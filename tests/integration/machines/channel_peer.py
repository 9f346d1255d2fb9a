"""The other end of a virtio-serial channel, on a real Unix socket: QEMU and a guest behind it, as a script has them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from quarterdeck.machines.guest import Guest, UnixEndpoint

CHANNEL: Final = "org.example.test"

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def channel_peer(directory: Path, script: Script) -> AsyncIterator[Guest]:
    """A guest whose one channel is served by `script`, once for each connection."""
    path = directory / "channel.sock"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except OSError:
            pass  # the client left, which is its right
        finally:
            writer.transport.abort()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield Guest(name="vm1", channels={CHANNEL: UnixEndpoint(str(path))})
    finally:
        server.close()
        await server.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What is written comes back."""
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Reads, and says nothing."""
    while await reader.read(65_536):
        pass
