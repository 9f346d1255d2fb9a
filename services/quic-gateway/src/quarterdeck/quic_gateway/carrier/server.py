"""One UDP socket and all connections on it. The handshake of each decides which protocol it speaks."""

import asyncio
import socket
from pathlib import Path
from typing import Final

from aioquic.asyncio.server import QuicServer as AioquicServer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection as AioquicConnection

from quarterdeck.quic_gateway.carrier.connection import PING_INTERVAL_S, Accept, LinkProtocol, QuicLink
from quarterdeck.wire import codes, quicflow

IDLE_TIMEOUT_S: Final = 20.0
"""aioquic sends no stateless reset: a peer learns of our death only by silence."""
_SOCKET_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""All connections share one socket: bursts of many agents must fit. The kernel may cap it (net.core.rmem_max)."""


class QuicServer:
    """`accept` is called for each connection after its handshake."""

    def __init__(self, accept: Accept) -> None:
        self._accept = accept
        self._server: AioquicServer | None = None
        self._protocols: set[LinkProtocol] = set()
        self._pinging: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int, *, cert: Path, key: Path) -> int:
        """The bound port. Raises OSError when it is taken or a file cannot be read."""
        configuration = QuicConfiguration(
            is_client=False, alpn_protocols=[codes.ALPN, quicflow.ALPN], idle_timeout=IDLE_TIMEOUT_S
        )
        configuration.load_cert_chain(cert, key)
        loop = asyncio.get_running_loop()
        _, self._server = await loop.create_datagram_endpoint(
            # `retry`: nobody gets state here before it proved that its address is its own (RFC 9000 §8.1.2).
            lambda: AioquicServer(configuration=configuration, create_protocol=self._connection, retry=True),
            sock=_bind(host, port),
        )
        self._ping()
        bound_port: int = self._transport().get_extra_info("sockname")[1]
        return bound_port

    def close(self) -> None:
        """Links are over by then; what is left is cut."""
        if self._pinging is not None:
            self._pinging.cancel()
        for protocol in list(self._protocols):
            protocol.close(reason_phrase="draining")
        self._transport().close()

    def forget(self, link: QuicLink) -> None:
        """It is over."""
        self._protocols.discard(link.protocol)

    def _connection(self, quic: AioquicConnection, stream_handler: object = None) -> LinkProtocol:
        return LinkProtocol(quic, self._accepted)

    def _accepted(self, link: QuicLink) -> None:
        self._protocols.add(link.protocol)
        self._accept(link)

    def _ping(self) -> None:
        loop = asyncio.get_running_loop()
        for protocol in self._protocols:
            protocol.ping_when_idle(loop.time())
        self._pinging = loop.call_later(PING_INTERVAL_S, self._ping)

    def _transport(self) -> asyncio.DatagramTransport:
        if self._server is None or self._server._transport is None:
            raise RuntimeError("not listening")
        return self._server._transport


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    udp = socket.socket(family, kind, protocol)
    try:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            udp.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
        udp.bind(address)
        udp.setblocking(False)
    except BaseException:
        udp.close()
        raise
    return udp
