"""S2-22F: what goes over the wire while keys are sent, seen by a server that writes it down."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.machines.errors import ConnectionEnded, NotSupported, UnknownKey, WrongPassword
from quarterdeck.machines.guest import Guest, ProtocolType
from quarterdeck.machines.protocol import ProtocolBuilder
from quarterdeck.machines.spice import SpiceProtocol, SpiceProtocolBuilder, channel
from quarterdeck.machines.spice.stream import SpiceStream
from quarterdeck.testing.eventually import eventually
from tests.integration.machines import spice_peer
from tests.integration.machines.spice_peer import DISCONNECTING, KEY_DOWN, KEY_UP, Connection, Received

CTRL = struct.pack("<I", 0x1D), struct.pack("<I", 0x9D)
ALT = struct.pack("<I", 0x38), struct.pack("<I", 0xB8)
DELETE = struct.pack("<I", 0x53E0), struct.pack("<I", 0xD3E0)
A = struct.pack("<I", 0x1E), struct.pack("<I", 0x9E)
"""A key going down, and going up."""


class Scribe:
    """A script that is honest, and writes down what each channel received."""

    def __init__(self) -> None:
        self.received: dict[int, list[Received]] = {spice_peer.MAIN: [], spice_peer.INPUTS: []}
        self.channels: list[Connection] = []
        self.hung_up = 0

    async def __call__(self, peer: Connection) -> None:
        channel_type = await peer.open_as_usual()
        self.channels.append(peer)
        try:
            while True:
                self.received[channel_type].append(await peer.receive())
        finally:
            self.hung_up += 1

    @property
    def keys(self) -> list[Received]:
        return [
            message for message in self.received[spice_peer.INPUTS] if message.number in (KEY_DOWN, KEY_UP)
        ]


@asynccontextmanager
async def connected(path: Path, scribe: Scribe) -> AsyncIterator[SpiceProtocol]:
    async with spice_peer.spice_peer(path, scribe) as guest:
        spice = SpiceProtocolBuilder().build()
        await spice.connect(guest)
        try:
            yield spice
        finally:
            await spice.disconnect()


async def test_keys_go_down_in_order_and_up_in_reverse(socket_dir: Path) -> None:
    """S2-22F: by the names of the documents; extended keys with their prefix."""
    scribe = Scribe()

    async with connected(socket_dir / "peer", scribe) as spice:
        await spice.send_keys(["ctrl", "alt", "del"], hold_ms=1)

    assert scribe.keys == [
        *(Received(KEY_DOWN, key[0]) for key in (CTRL, ALT, DELETE)),
        *(Received(KEY_UP, key[1]) for key in (DELETE, ALT, CTRL)),
    ]


async def test_callers_take_turns(socket_dir: Path) -> None:
    """S2-22F: no chord gets into another."""
    scribe = Scribe()

    async with connected(socket_dir / "peer", scribe) as spice:
        await asyncio.gather(
            spice.send_keys(["ctrl", "a"], hold_ms=30),
            spice.send_key("delete", hold_ms=1),
            spice.send_keys(["alt", "a"], hold_ms=1),
        )

    assert [message.body for message in scribe.keys] == [
        *(CTRL[0], A[0], A[1], CTRL[1]),
        *DELETE,
        *(ALT[0], A[0], A[1], ALT[1]),
    ]


async def test_keys_of_a_caller_who_leaves_go_up(socket_dir: Path) -> None:
    """S2-22F: nobody else would release them, and the next caller's keys are their own."""
    scribe = Scribe()

    async with connected(socket_dir / "peer", scribe) as spice:
        holding = asyncio.create_task(spice.send_keys(["ctrl", "alt"], hold_ms=60_000))
        await eventually(lambda: len(scribe.keys) == 2)
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        await spice.send_key("a", hold_ms=1)

    assert [message.body for message in scribe.keys] == [CTRL[0], ALT[0], ALT[1], CTRL[1], *A]


async def test_pings_and_acks_are_answered_on_both_channels(socket_dir: Path) -> None:
    """S2-22F: the bandwidth ping of a TCP server among them."""
    scribe = Scribe()
    head = struct.pack("<IQ", 7, 1_763_700_000_000)

    async with connected(socket_dir / "peer", scribe):
        await eventually(lambda: len(scribe.channels) == 2)
        for peer in scribe.channels:
            peer.send(spice_peer.SET_ACK, struct.pack("<II", 9, 2))
            peer.send(spice_peer.PING, head + bytes(256_000))
            peer.send(7, b"a notice that nobody reads")
        expected = [
            Received(spice_peer.ACK_SYNC, struct.pack("<I", 9)),
            Received(spice_peer.PONG, head),
            Received(spice_peer.ACK, b""),
        ]
        await eventually(lambda: all(received[-3:] == expected for received in scribe.received.values()))


async def test_disconnect_says_goodbye_and_waits_for_the_server(
    socket_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S2-22F: what was sent before is read by then; the server need not wait to hang up."""
    monkeypatch.setattr(channel, "GOODBYE_S", 1_000)
    scribe = Scribe()

    async with connected(socket_dir / "peer", scribe) as spice:
        await spice.send_key("a", hold_ms=1)
        await spice.disconnect()

        assert scribe.received[spice_peer.INPUTS][-1].number == DISCONNECTING
        assert [message.body for message in scribe.keys] == [*A]
        assert not await spice.is_connected()


async def test_disconnect_leaves_a_server_that_stands_still(socket_dir: Path) -> None:
    """S2-25F: any number of times, and without an error."""

    async def stands_still(peer: Connection) -> None:
        await peer.open_as_usual()
        await asyncio.Event().wait()

    async with spice_peer.spice_peer(socket_dir / "peer", stands_still) as guest:
        spice = SpiceProtocolBuilder().build()
        await spice.disconnect()
        await spice.connect(guest)
        await spice.disconnect()
        await spice.disconnect()

        assert not await spice.is_connected()


async def test_nothing_is_written_after_the_goodbye(socket_dir: Path) -> None:
    """S2-25F: such as the answer to a ping that crossed it."""
    scribe = Scribe()
    async with spice_peer.spice_peer(socket_dir / "peer", scribe) as guest:
        stream = await SpiceStream.open(guest)
        stream.finish()
        stream.write(b"too late")

        with pytest.raises(ConnectionEnded):
            await stream.read()
        await stream.close()


async def test_connect_again_begins_anew(socket_dir: Path) -> None:
    """S2-22F: the old session is left in order."""
    old, new = Scribe(), Scribe()

    async with spice_peer.spice_peer(socket_dir / "new", new) as guest:
        async with connected(socket_dir / "old", old) as spice:
            await spice.connect(guest)
            await spice.send_key("a", hold_ms=1)
            await eventually(lambda: old.hung_up == 2)

    assert (old.keys, [message.body for message in new.keys]) == ([], [*A])


@pytest.mark.parametrize("key", ["", "A", "nosuchkey", "ctrl-a", "lang1"])
async def test_unknown_key_is_told_before_any_goes_down(key: str, socket_dir: Path) -> None:
    """S2-22F, S2-25F."""
    scribe = Scribe()

    async with connected(socket_dir / "peer", scribe) as spice:
        with pytest.raises(UnknownKey) as caught:
            await spice.send_keys(["ctrl", key], hold_ms=1)

    assert (caught.value.key, caught.value.guest) == (key, "vm1")
    assert scribe.keys == []


async def test_order_without_keys_or_without_a_hold_is_invalid(socket_dir: Path) -> None:
    """S2-25F."""
    async with connected(socket_dir / "peer", Scribe()) as spice:
        with pytest.raises(InvalidInput):
            await spice.send_keys([])
        with pytest.raises(InvalidInput):
            await spice.send_keys(["a"], hold_ms=0)


async def test_keys_before_connect_are_an_error() -> None:
    """S2-25F."""
    with pytest.raises(ConnectionEnded):
        await SpiceProtocolBuilder().build().send_key("a")


async def test_raw_bytes_are_not_supported() -> None:
    """S2-22F, S2-25F."""
    spice = SpiceProtocolBuilder().build()

    with pytest.raises(NotSupported):
        await spice.send(b"\x1e\x9e")
    with pytest.raises(NotSupported):
        await spice.receive()


@pytest.mark.parametrize(
    ("of_guest", "of_builder", "expected"),
    [
        (None, "", b"\0"),
        (None, "general", b"general\0"),
        ("own", "general", b"own\0"),
        ("", "general", b"\0"),
    ],
)
async def test_password_is_the_guests_or_else_the_builders(
    of_guest: str | None, of_builder: str, expected: bytes, socket_dir: Path
) -> None:
    """S2-22F: on each channel, and in no log."""
    scribe = Scribe()
    async with spice_peer.spice_peer(socket_dir / "peer", scribe) as guest:
        spice = SpiceProtocolBuilder().with_password(of_builder).with_timeout(5).build()

        with capture_logs() as logs:
            await spice.connect(Guest(name="vm1", endpoints=guest.endpoints, spice_password=of_guest))
            await spice.disconnect()

    assert [peer.password for peer in scribe.channels] == [expected, expected]
    assert "general" not in str(logs)


async def test_password_that_no_server_has_is_wrong(socket_dir: Path) -> None:
    """S2-25F: longer than a server takes when it is set."""
    async with spice_peer.spice_peer(socket_dir / "peer", Scribe()) as guest:
        with pytest.raises(WrongPassword):
            await SpiceProtocolBuilder().with_password("é" * 31).build().connect(guest)


def test_builder_is_of_its_type_and_makes_one_protocol_after_the_other() -> None:
    """S2-22F."""
    builder: ProtocolBuilder = SpiceProtocolBuilder()

    assert builder.protocol_type() == builder.build().protocol_type() == ProtocolType.SPICE
    assert builder.build() is not builder.build()
