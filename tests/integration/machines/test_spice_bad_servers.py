"""S2-22F, S2-25F: SPICE servers that misbehave give typed errors in time, and the next one is talked to as ever."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from quarterdeck.machines.errors import (
    ConnectFailed,
    ConnectionEnded,
    ProtocolUnavailable,
    TimedOut,
)
from quarterdeck.machines.guest import Guest, LibvirtEndpoint, ProtocolType, TcpEndpoint
from quarterdeck.machines.spice import SpiceProtocol, SpiceProtocolBuilder
from quarterdeck.testing.eventually import eventually
from tests.integration.machines import spice_peer
from tests.integration.machines.spice_bad_servers import CASES, Case
from tests.integration.machines.spice_peer import Connection, guest_at

NO_LONGER_S = 0.3
"""The timeout against servers that never answer."""

ENDLESS_BYTES = 8 * 1024 * 1024
"""Far more than the sockets, and the buffers at both ends, hold."""
PINGS_AT_ONCE = 1_000


async def honest(peer: Connection) -> None:
    await peer.open_as_usual()
    await peer.hung_up()


def impatient() -> SpiceProtocol:
    return SpiceProtocolBuilder().with_timeout(NO_LONGER_S).build()


async def in_the_end(attempt: Callable[[], Awaitable[None]]) -> None:
    """Tries until it is in time: an impatient client may be too slow itself, on a busy machine."""

    async def succeeds() -> bool:
        try:
            await attempt()
        except TimedOut:
            return False
        return True

    await eventually(succeeds)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.script.__name__)
async def test_server_that_misbehaves_gives_its_error_and_the_next_one_is_served(
    case: Case, socket_dir: Path
) -> None:
    """S2-22F, S2-25F."""
    async with (
        spice_peer.spice_peer(socket_dir / "bad", case.script) as bad,
        spice_peer.spice_peer(socket_dir / "good", honest) as good,
    ):
        spice = impatient() if case.error is TimedOut else SpiceProtocolBuilder().build()

        with pytest.raises(case.error) as caught:
            await spice.connect(bad)

        assert type(caught.value) is case.error
        assert (caught.value.guest, caught.value.protocol) == ("vm1", ProtocolType.SPICE)
        assert not await spice.is_connected()
        await in_the_end(lambda: spice.connect(good))
        await spice.send_key("a", hold_ms=1)
        await spice.disconnect()


async def test_server_that_sends_and_never_reads_is_not_read_either(socket_dir: Path) -> None:
    """S2-25F: pings without end, whose answers it does not take, must not pile up here."""
    sent_bytes = 0
    halted = asyncio.Event()

    async def floods(peer: Connection) -> None:
        nonlocal sent_bytes
        await peer.link()
        while sent_bytes < ENDLESS_BYTES:
            for _ in range(PINGS_AT_ONCE):
                peer.send(spice_peer.PING, bytes(12))
                sent_bytes += 18
            try:
                async with asyncio.timeout(1):
                    await peer.writer.drain()
            except TimeoutError:
                break
        halted.set()
        await asyncio.Event().wait()

    async with spice_peer.spice_peer(socket_dir / "bad", floods) as bad:
        connecting = asyncio.create_task(SpiceProtocolBuilder().with_timeout(60).build().connect(bad))
        await halted.wait()
        connecting.cancel()
        await asyncio.wait([connecting])

    assert sent_bytes < ENDLESS_BYTES


async def test_server_that_takes_no_keys_is_given_up_and_begun_anew(socket_dir: Path) -> None:
    """S2-25F: the caller is told in time, and the next one gets a session that works."""
    sessions, takes_keys = 0, False

    async def takes_nothing_at_first(peer: Connection) -> None:
        nonlocal sessions
        if await peer.open_as_usual() == spice_peer.MAIN:
            sessions += 1
        elif not takes_keys:
            await asyncio.Event().wait()
        await peer.hung_up()

    async with spice_peer.spice_peer(socket_dir / "peer", takes_nothing_at_first) as guest:
        spice = impatient()
        await in_the_end(lambda: spice.connect(guest))
        asked = sessions

        with pytest.raises(TimedOut):
            await spice.send_keys(["a"] * 200_000, hold_ms=1)
        assert not await spice.is_connected()
        takes_keys = True
        await in_the_end(lambda: spice.send_key("a", hold_ms=1))

        assert sessions > asked
        await spice.disconnect()


async def test_session_that_the_server_ends_is_begun_anew_by_the_next_key(socket_dir: Path) -> None:
    """S2-25F: as when a viewer takes the server over."""
    peers: list[Connection] = []

    async def keeps(peer: Connection) -> None:
        await peer.open_as_usual()
        peers.append(peer)
        await peer.hung_up()

    async with spice_peer.spice_peer(socket_dir / "peer", keeps) as guest:
        spice = SpiceProtocolBuilder().build()
        await spice.connect(guest)
        assert await spice.is_connected()
        await eventually(lambda: len(peers) == 2)

        for peer in peers:
            peer.writer.transport.abort()

        async def is_known() -> bool:
            return not await spice.is_connected()

        await eventually(is_known)
        await spice.send_key("a", hold_ms=1)
        assert await spice.is_connected()
        assert len(peers) == 4
        await spice.disconnect()


async def test_session_with_a_broken_message_is_left_and_begun_anew(socket_dir: Path) -> None:
    """S2-25F: the server is hung up on as soon as it comes, not only when somebody types."""
    sessions_left = 0

    async def breaks_the_first(peer: Connection) -> None:
        nonlocal sessions_left
        if await peer.open_as_usual() == spice_peer.MAIN:
            if not sessions_left:
                peer.send(spice_peer.PING, b"\1")
            await peer.hung_up()
            sessions_left += 1
        await peer.hung_up()

    async with spice_peer.spice_peer(socket_dir / "peer", breaks_the_first) as guest:
        spice = SpiceProtocolBuilder().build()
        await spice.connect(guest)
        await eventually(lambda: sessions_left == 1)

        assert not await spice.is_connected()
        await spice.send_key("a", hold_ms=1)
        assert await spice.is_connected()
        await spice.disconnect()


async def test_guest_that_cannot_be_connected_to_leaves_no_other_in_its_place(socket_dir: Path) -> None:
    """S2-25F: keys that are meant for it never reach the guest before it."""
    async with spice_peer.spice_peer(socket_dir / "peer", honest) as before:
        spice = SpiceProtocolBuilder().build()
        await spice.connect(before)
        with pytest.raises(ConnectFailed):
            await spice.connect(guest_at(socket_dir / "nothing"))

        with pytest.raises(ConnectionEnded):
            await spice.send_key("a", hold_ms=1)
        assert not await spice.is_connected()


async def test_server_that_goes_while_keys_are_held_ends_the_request(socket_dir: Path) -> None:
    """S2-25F: it may have had an effect, so it is not made again."""

    async def goes_after_the_first_key(peer: Connection) -> None:
        if await peer.open_as_usual() == spice_peer.INPUTS:
            await peer.receive()
        else:
            await peer.hung_up()

    async with spice_peer.spice_peer(socket_dir / "peer", goes_after_the_first_key) as guest:
        spice = SpiceProtocolBuilder().build()
        await spice.connect(guest)

        with pytest.raises(ConnectionEnded):
            await spice.send_key("a", hold_ms=500)
        await spice.disconnect()


async def test_path_where_nobody_listens_cannot_be_connected_to(socket_dir: Path) -> None:
    """S2-25F: nothing there, a file, a socket whose server went away."""
    (socket_dir / "file").write_text("no socket")
    async with spice_peer.spice_peer(socket_dir / "left", honest):
        pass

    for name in ("nothing", "file", "left"):
        with pytest.raises(ConnectFailed):
            await SpiceProtocolBuilder().build().connect(guest_at(socket_dir / name))


@pytest.mark.parametrize("endpoint", [None, LibvirtEndpoint("test:///default", "vm1")])
async def test_guest_without_a_socket_has_no_spice(endpoint: LibvirtEndpoint | None) -> None:
    """S2-25F."""
    guest = Guest(name="vm1", endpoints={ProtocolType.SPICE: endpoint} if endpoint else {})

    with pytest.raises(ProtocolUnavailable):
        await SpiceProtocolBuilder().build().connect(guest)


async def test_tcp_port_where_nobody_listens_cannot_be_connected_to() -> None:
    """S2-25F."""
    guest = Guest(name="vm1", endpoints={ProtocolType.SPICE: TcpEndpoint("127.0.0.1", 1)})

    with pytest.raises(ConnectFailed):
        await SpiceProtocolBuilder().build().connect(guest)
