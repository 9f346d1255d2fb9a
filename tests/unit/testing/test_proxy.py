"""The fault proxy does what it was told, and nothing else."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.proxy import CALM, Faults, Side, TcpProxy, UdpProxy
from quarterdeck.testing.proxy.faults import Dice

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def echo_behind_proxy() -> AsyncIterator[tuple[TcpProxy, asyncio.Queue[BaseException | None]]]:
    """The queue tells how each connection of the server ended: None for an orderly end."""
    ends: asyncio.Queue[BaseException | None] = asyncio.Queue()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
            ends.put_nowait(None)
        except ConnectionError as error:
            ends.put_nowait(error)
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    try:
        async with TcpProxy.running("127.0.0.1", server.sockets[0].getsockname()[1], seed=7) as proxy:
            yield proxy, ends
    finally:
        server.close()


async def open_to(proxy: TcpProxy) -> Streams:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def test_tcp_bytes_arrive_in_order_through_delay_jitter_and_stalls() -> None:
    async with echo_behind_proxy() as (proxy, _):
        proxy.up = proxy.down = Faults(delay_ms=1, jitter_ms=3, loss=0.1, stall_ms=5)
        reader, writer = await open_to(proxy)
        sent = random.Random(1).randbytes(3_000_000)

        writer.write(sent)
        async with asyncio.timeout(20):
            received = await reader.readexactly(len(sent))

        assert received == sent
        writer.close()


async def test_tcp_black_hole_holds_one_direction_until_it_is_lifted() -> None:
    async with echo_behind_proxy() as (proxy, _):
        reader, writer = await open_to(proxy)
        proxy.down = Faults(black_hole=True)
        writer.write(b"held")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.readexactly(4)
        proxy.down = CALM
        async with asyncio.timeout(5):
            received = await reader.readexactly(4)

        assert received == b"held"
        writer.close()


async def test_tcp_cut_resets_both_ends() -> None:
    async with echo_behind_proxy() as (proxy, ends):
        reader, writer = await open_to(proxy)
        writer.write(b"hello")
        await reader.readexactly(5)

        proxy.cut()

        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        assert isinstance(await ends.get(), ConnectionResetError)
        await eventually(lambda: proxy.connections == 0)
        writer.close()


async def test_tcp_connections_are_cut_after_as_many_bytes_as_were_allowed() -> None:
    async with echo_behind_proxy() as (proxy, _):
        proxy.down_bytes = lambda: 100_001
        reader, writer = await open_to(proxy)
        sent = random.Random(2).randbytes(300_000)
        received = b""

        writer.write(sent)
        with pytest.raises(ConnectionResetError):
            while True:
                received += await reader.read(65536)

        assert received == sent[:100_001]
        await eventually(lambda: proxy.cuts == 1)
        writer.close()


async def test_tcp_half_open_leaves_one_end_in_the_dark() -> None:
    async with echo_behind_proxy() as (proxy, ends):
        reader, writer = await open_to(proxy)
        writer.write(b"hello")
        await reader.readexactly(5)

        proxy.half_open(Side.CLIENT)

        assert isinstance(await ends.get(), ConnectionResetError)
        writer.write(b"anybody there?")
        await writer.drain()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)
        writer.close()


async def test_tcp_refusing_drops_new_connections_and_keeps_old_ones() -> None:
    async with echo_behind_proxy() as (proxy, _):
        reader, writer = await open_to(proxy)
        writer.write(b"a")
        await reader.readexactly(1)
        proxy.refusing = True

        late_reader, late_writer = await open_to(proxy)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await late_reader.readexactly(1)
        writer.write(b"b")

        assert await reader.readexactly(1) == b"b"
        writer.close()
        late_writer.close()


async def test_tcp_orderly_end_passes_through() -> None:
    async with echo_behind_proxy() as (proxy, ends):
        reader, writer = await open_to(proxy)
        writer.write(b"last words")
        writer.write_eof()

        received = await reader.read()

        assert received == b"last words"
        assert await ends.get() is None
        writer.close()


class Collector(asyncio.DatagramProtocol):
    def __init__(self, *, echoes: bool = False) -> None:
        self.echoes = echoes
        self.received: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.append(data)
        if self.echoes:
            self.transport.sendto(data, addr)


@asynccontextmanager
async def udp_behind_proxy() -> AsyncIterator[tuple[UdpProxy, Collector, Collector]]:
    loop = asyncio.get_running_loop()
    there, server = await loop.create_datagram_endpoint(
        lambda: Collector(echoes=True), local_addr=("127.0.0.1", 0)
    )
    try:
        async with UdpProxy.running(*there.get_extra_info("sockname"), seed=7) as proxy:
            here, client = await loop.create_datagram_endpoint(
                Collector, remote_addr=("127.0.0.1", proxy.port)
            )
            try:
                yield proxy, client, server
            finally:
                here.close()
    finally:
        there.close()
        await asyncio.sleep(0)  # a closed transport leaves its loop one turn later


def numbered(count: int) -> list[bytes]:
    return [f"{number:04}".encode() for number in range(count)]


async def send(client: Collector, datagrams: list[bytes]) -> None:
    for datagram in datagrams:
        client.transport.sendto(datagram)
        await asyncio.sleep(0)  # asyncio takes one datagram per turn, and the kernel's buffers are small


async def test_udp_passes_everything_both_ways_when_calm() -> None:
    async with udp_behind_proxy() as (proxy, client, server):
        await send(client, numbered(200))

        await eventually(lambda: len(client.received) == 200)
        assert server.received == client.received == numbered(200)
        assert (proxy.forwarded, proxy.dropped) == (400, 0)


async def test_udp_loses_duplicates_and_reorders_at_about_the_rate_asked_for() -> None:
    async with udp_behind_proxy() as (proxy, client, server):
        proxy.up = Faults(loss=0.2, duplicate=0.2, reorder=0.2)
        await send(client, numbered(1000))

        await eventually(lambda: proxy.dropped + len(set(server.received)) == 1000)
        await eventually(lambda: len(server.received) > len(set(server.received)))
        first_seen = list(dict.fromkeys(server.received))
        assert 100 < proxy.dropped < 300
        assert first_seen != sorted(first_seen)


async def test_udp_black_hole_works_in_one_direction() -> None:
    async with udp_behind_proxy() as (proxy, client, server):
        proxy.down = Faults(black_hole=True)
        await send(client, numbered(20))

        await eventually(lambda: proxy.dropped == 20)
        assert len(server.received) == 20
        assert client.received == []


async def test_udp_rebind_makes_the_client_come_from_another_port() -> None:
    async with udp_behind_proxy() as (proxy, client, server):
        await send(client, [b"one"])
        await eventually(lambda: client.received == [b"one"])

        proxy.rebind()
        await send(client, [b"two"])

        await eventually(lambda: client.received == [b"one", b"two"])
        assert server.received == [b"one", b"two"]


def test_the_same_seed_draws_the_same_faults() -> None:
    faults = Faults(loss=0.3, duplicate=0.3, reorder=0.3, jitter_ms=5)

    one, same, other = (
        [dice.datagram_delays_s(faults) for _ in range(100)] for dice in (Dice("1"), Dice("1"), Dice("2"))
    )

    assert one == same != other
