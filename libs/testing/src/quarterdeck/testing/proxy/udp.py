"""A UDP proxy that delays, loses, duplicates and reorders datagrams, as the road of a QUIC link may.

Owns one socket for all clients and one per client towards the server, as a NAT does. Called by tests that put it
between an agent and a QUIC gateway.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Self

from quarterdeck.testing.proxy.faults import CALM, Dice, Faults

_MAX_DATAGRAM_BYTES: Final = 65_536
_BURST: Final = 64
"""Datagrams taken per wake-up: more would starve the other direction."""
_BUFFER_BYTES: Final = 8 * 1024 * 1024
"""Asked of the kernel: what it drops by itself is a fault that nobody ordered."""
_MAX_HELD: Final = 20_000
"""Datagrams on their way; a router's queue is finite, too."""

Address = tuple[str, int]


class UdpProxy:
    """Forwards `port` on loopback to `target`, which may be down and come back."""

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self._target = (host, port)
        self._dice_up = Dice(f"{seed}-up")
        self._dice_down = Dice(f"{seed}-down")
        self._own = _socket()
        self._own.bind(("127.0.0.1", 0))
        self._upstreams: dict[Address, socket.socket] = {}
        self._held = 0
        self._loop = asyncio.get_running_loop()
        self.up = CALM
        """Client to server."""
        self.down = CALM
        """Server to client."""
        self.forwarded = 0
        """Copies that were sent on, both directions."""
        self.dropped = 0
        """Datagrams that were lost: by order, in a black hole, or for want of room."""
        self.port: int = self._own.getsockname()[1]
        """The proxy's own."""

    @classmethod
    @asynccontextmanager
    async def running(cls, host: str, port: int, *, seed: int = 0) -> AsyncIterator[Self]:
        proxy = cls(host, port, seed=seed)
        proxy._loop.add_reader(proxy._own, proxy._from_clients)
        try:
            yield proxy
        finally:
            proxy.rebind()
            proxy._loop.remove_reader(proxy._own)
            proxy._own.close()

    def rebind(self) -> None:
        """Forgets all clients: the server sees their next datagrams come from new ports, as after a NAT's timeout."""
        for upstream in self._upstreams.values():
            self._loop.remove_reader(upstream)
            upstream.close()
        self._upstreams.clear()

    def _from_clients(self) -> None:
        for _ in range(_BURST):
            try:
                datagram, client = self._own.recvfrom(_MAX_DATAGRAM_BYTES)
            except (BlockingIOError, ConnectionError):
                return
            upstream = self._upstreams.get(client) or self._connect(client)
            self._forward(datagram, self.up, self._dice_up, upstream.send)

    def _connect(self, client: Address) -> socket.socket:
        upstream = _socket()
        upstream.connect(self._target)
        self._upstreams[client] = upstream
        self._loop.add_reader(upstream, self._from_server, upstream, client)
        return upstream

    def _from_server(self, upstream: socket.socket, client: Address) -> None:
        for _ in range(_BURST):
            try:
                datagram = upstream.recv(_MAX_DATAGRAM_BYTES)
            except (BlockingIOError, ConnectionError):  # refused: nobody listens at the moment
                return
            self._forward(datagram, self.down, self._dice_down, lambda raw: self._own.sendto(raw, client))

    def _forward(self, datagram: bytes, faults: Faults, dice: Dice, send: Callable[[bytes], int]) -> None:
        delays_s = () if faults.black_hole or self._held > _MAX_HELD else dice.datagram_delays_s(faults)
        if not delays_s:
            self.dropped += 1
        for delay_s in delays_s:
            if delay_s > 0:
                self._held += 1
                self._loop.call_later(delay_s, self._send_held, datagram, send)
            else:
                self._send(datagram, send)

    def _send_held(self, datagram: bytes, send: Callable[[bytes], int]) -> None:
        self._held -= 1
        self._send(datagram, send)

    def _send(self, datagram: bytes, send: Callable[[bytes], int]) -> None:
        try:
            send(datagram)
        except OSError:  # full, refused or closed meanwhile: a datagram has no right to arrive
            self.dropped += 1
        else:
            self.forwarded += 1


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return made
