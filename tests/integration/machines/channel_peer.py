"""The other end of a virtio-serial channel, on a real Unix socket: QEMU and a guest behind it, as a script has them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from quarterdeck.machines.guest import Guest, UnixEndpoint
from tests.integration.machines.scripted_peer import ScriptedPeer

CHANNEL: Final = "org.example.test"

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def channel_peer(directory: Path, script: Script) -> AsyncIterator[Guest]:
    """A guest whose one channel is served by `script`, once for each connection."""
    path = directory / "channel.sock"

    guest = Guest(name="vm1", channels={CHANNEL: UnixEndpoint(str(path))})

    async def run(ends: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        await script(*ends)

    async with ScriptedPeer(guest, lambda *ends: ends, (run,)).listening(path):
        yield guest


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What is written comes back."""
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Reads, and says nothing."""
    while await reader.read(65_536):
        pass
