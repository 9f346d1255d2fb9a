"""A SPICE server of a test, on a real Unix socket: as honest, or as broken, as its script.

Packs and reads with `struct` alone, so that a mistake in the product's own codec is not made twice.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from tests.integration.machines.scripted_peer import ScriptedPeer

SESSION_ID: Final = 0x5EED
MAIN: Final = 1
INPUTS: Final = 3
CAPABILITIES: Final = 0b1011

SET_ACK: Final = 3
PING: Final = 4
INPUTS_INIT: Final = 101
MAIN_INIT: Final = 103
CHANNELS_LIST: Final = 104

ACK_SYNC: Final = 1
ACK: Final = 2
PONG: Final = 3
DISCONNECTING: Final = 6
KEY_DOWN: Final = 101
KEY_UP: Final = 102
ATTACH_CHANNELS: Final = 104

BOTH_CHANNELS: Final = struct.pack("<IBBBB", 2, MAIN, 0, INPUTS, 0)


class Received(NamedTuple):
    """A message of the client."""

    number: int
    body: bytes


class Connection:
    """The server's end of one channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.password = b""
        self.session_id = 0

    async def link_request(self) -> int:
        """Takes the client's first message. Returns the type of channel."""
        _, _, _, size_bytes = struct.unpack("<4sIII", await self.reader.readexactly(16))
        self.session_id, channel_type = struct.unpack_from("<IB", await self.reader.readexactly(size_bytes))
        return int(channel_type)

    def link_reply(
        self, *, error: int = 0, public_key: bytes = b"", capabilities: int = CAPABILITIES, offset: int = 178
    ) -> None:
        body = struct.pack("<I162sIIII", error, public_key or public_key_der(), 1, 0, offset, capabilities)
        self.writer.write(struct.pack("<4sIII", b"REDQ", 2, 2, len(body)) + body)

    async def take_ticket(self, *, result: int = 0) -> None:
        (mechanism,) = struct.unpack("<I", await self.reader.readexactly(4))
        assert mechanism == 1
        oaep = OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)
        self.password = private_key().decrypt(await self.reader.readexactly(128), oaep)
        self.writer.write(struct.pack("<I", result))

    async def link(self) -> int:
        """The whole handshake, honestly. Returns the type of channel."""
        channel_type = await self.link_request()
        self.link_reply()
        await self.take_ticket()
        return channel_type

    def send(self, number: int, body: bytes = b"") -> None:
        self.writer.write(struct.pack("<HI", number, len(body)) + body)

    def send_main_init(self) -> None:
        self.send(MAIN_INIT, struct.pack("<8I", SESSION_ID, 1, 3, 1, 0, 10, 0, 0))

    async def receive(self) -> Received:
        """Raises IncompleteReadError when the client hung up."""
        number, size_bytes = struct.unpack("<HI", await self.reader.readexactly(6))
        return Received(number, await self.reader.readexactly(size_bytes))

    async def open_as_usual(self) -> int:
        """Links, and says what a client waits for. Returns the type of channel."""
        channel_type = await self.link()
        if channel_type == MAIN:
            self.send_main_init()
            assert (await self.receive()).number == ATTACH_CHANNELS
            self.send(CHANNELS_LIST, BOTH_CHANNELS)
        else:
            assert self.session_id == SESSION_ID
            self.send(INPUTS_INIT, b"\0\0")
        return channel_type

    async def hung_up(self) -> None:
        """Returns when the client did; reads and drops what comes before."""
        while await self.reader.read(65536):
            pass


Script = Callable[[Connection], Awaitable[None]]
"""Run for each connection, which ends with it."""


@asynccontextmanager
async def spice_peer(path: Path, script: Script) -> AsyncIterator[Guest]:
    """The guest whose server runs `script`. What a script raises fails the test, unless the client hung up."""
    async with ScriptedPeer(guest_at(path), Connection, (script,)).listening(path) as peer:
        yield peer.guest


def guest_at(path: Path) -> Guest:
    return Guest(name="vm1", endpoints={ProtocolType.SPICE: UnixEndpoint(str(path))})


@cache
def private_key() -> RSAPrivateKey:
    return generate_private_key(65537, 1024)


@cache
def public_key_der() -> bytes:
    return private_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
