"""The QUIC carrier: one connection is one link, on one stream that we open. The only module here that imports aioquic.

aioquic pushes back neither way, so both ways are watched here: `send` waits while too much is unacknowledged, and what
was received but not taken is bounded by `FrameIntake`. Stream events are handled directly: aioquic's stream readers are
never freed. Made and closed by `service`.
"""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer as AioquicServer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection as AioquicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

from quarterdeck.contracts.errors import DecodeError, LinkRefused
from quarterdeck.gateway.connection import ConnectionLost
from quarterdeck.quic_gateway.handlers import FrameIntake
from quarterdeck.wire.codes import ALPN
from quarterdeck.wire.framing import encode

IDLE_TIMEOUT_S: Final = 20.0
"""aioquic sends no stateless reset: a peer learns of our death only by silence."""
PING_INTERVAL_S: Final = 5.0
"""A peer that was not heard for this long is pinged, so that an idle connection lives."""
_HIGH_WATER_BYTES: Final = 1024 * 1024
"""Unacknowledged bytes above which `send` waits; several times the bandwidth-delay product at 20 MB/s and 10 ms."""
_CLOSE_TIMEOUT_S: Final = 0.5
"""How long a connection that ends may take to acknowledge the Goodbye; CONNECTION_CLOSE drops what is unsent."""
_SOCKET_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""All connections share one socket: bursts of many agents must fit. The kernel may cap it (net.core.rmem_max)."""

Accept = Callable[["QuicLink"], None]


class _StreamProtocol(QuicConnectionProtocol):
    """Frames of the one stream, in and out. All else of QUIC is done by aioquic's protocol."""

    def __init__(self, quic: AioquicConnection, accept: Accept) -> None:
        super().__init__(quic)
        self._accept = accept
        self._stream_id = -1
        self._intake: FrameIntake | None = None
        self._failure: Exception | None = None
        self._ended = False
        self._receivable = asyncio.Event()
        self._writable = asyncio.Event()
        self.remote = ""
        self.heard_s = self._loop.time()

    async def send_frame(self, frame: bytes) -> None:
        await self._unacknowledged_at_most(_HIGH_WATER_BYTES)
        if self._ended:
            raise ConnectionLost("the connection is over")
        self._quic.send_stream_data(self._stream_id, encode(frame))
        self._transmit_soon()

    async def next_frame(self) -> bytes | None:
        while True:
            if self._intake is not None and (frame := self._intake.take()) is not None:
                return frame
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return None
            self._receivable.clear()
            await self._receivable.wait()

    async def flush_and_close(self, reason: str) -> None:
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._unacknowledged_at_most(0)
        except TimeoutError:
            pass  # it does not listen; the connection ends all the same
        self._end(None)
        self.close(reason_phrase=reason)

    def ping_when_idle(self, now_s: float) -> None:
        """Called every PING_INTERVAL_S. Agents ping too; two of each would only cost."""
        if not self._ended and now_s - self.heard_s >= PING_INTERVAL_S:
            self._quic.send_ping(0)
            self.transmit()

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        self.heard_s = self._loop.time()
        self.remote = f"{addr[0]}:{addr[1]}"
        super().datagram_received(data, addr)
        self._writable.set()

    def quic_event_received(self, event: QuicEvent) -> None:
        match event:
            case HandshakeCompleted():
                self._stream_id = self._quic.get_next_available_stream_id()
                self._intake = FrameIntake(self._stream_id)
                self._accept(QuicLink(self))
            case StreamDataReceived(data=data, end_stream=end_stream, stream_id=stream_id):
                self._take(stream_id, data)
                if end_stream:
                    self._end(None)
            case StreamReset() | StopSendingReceived():
                self._end(ConnectionLost("the agent reset the stream"))
            case ConnectionTerminated(error_code=0):
                self._end(None)
            case ConnectionTerminated(error_code=error_code, reason_phrase=phrase):
                self._end(ConnectionLost(f"closed with {error_code:#x} {phrase[:80]}".rstrip()))
            case _:
                pass  # addresses and connection ids are the base class's business

    def _take(self, stream_id: int, piece: bytes) -> None:
        if self._intake is None or self._ended:
            return
        try:
            self._intake.feed(stream_id, piece)
        except (DecodeError, LinkRefused) as refusal:
            # Not over yet: the gateway says goodbye over the same connection.
            self._failure = self._failure or refusal
        self._receivable.set()

    def _end(self, failure: Exception | None) -> None:
        if not self._ended:
            self._ended = True
            self._failure = self._failure or failure
        self._receivable.set()
        self._writable.set()

    async def _unacknowledged_at_most(self, limit_bytes: int) -> None:
        """Returns when that little is unacknowledged, or the connection is over."""
        while not self._ended and self._unacknowledged_bytes() > limit_bytes:
            self._writable.clear()
            await self._writable.wait()

    def _unacknowledged_bytes(self) -> int:
        # Private in aioquic, which has no public word for it; its version is pinned exactly for this reason.
        stream = self._quic._streams.get(self._stream_id)
        return 0 if stream is None else len(stream.sender._buffer)


class QuicLink:
    """One connection, as the gateway's `Connection`."""

    def __init__(self, protocol: _StreamProtocol) -> None:
        self.protocol = protocol
        self._closing = False

    @property
    def peer(self) -> str:
        return self.protocol.remote

    async def send(self, frame: bytes) -> None:
        await self.protocol.send_frame(frame)

    async def receive(self) -> bytes | None:
        return await self.protocol.next_frame()

    async def close(self, reason: str) -> None:
        if not self._closing:
            self._closing = True
            await self.protocol.flush_and_close(reason)


class QuicServer:
    """One UDP socket and all connections on it. `serve` is called for each connection after its handshake."""

    def __init__(self, accept: Accept) -> None:
        self._accept = accept
        self._server: AioquicServer | None = None
        self._protocols: set[_StreamProtocol] = set()
        self._pinging: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int, *, cert: Path, key: Path) -> int:
        """The bound port. Raises OSError when it is taken or a file cannot be read."""
        configuration = QuicConfiguration(is_client=False, alpn_protocols=[ALPN], idle_timeout=IDLE_TIMEOUT_S)
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

    def _connection(self, quic: AioquicConnection, stream_handler: object = None) -> _StreamProtocol:
        return _StreamProtocol(quic, self._accepted)

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
