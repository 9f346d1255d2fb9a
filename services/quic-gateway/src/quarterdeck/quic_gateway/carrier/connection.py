"""One QUIC connection as one link: frames in and out, and its end.

aioquic pushes back neither way, so both ways are watched here: `send` waits while too much is unacknowledged, and what
was received but not taken is bounded by the intakes. Stream events are handled directly: aioquic's stream readers are
never freed. What the streams mean is the business of a `Streams`.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aioquic.asyncio.protocol import QuicConnectionProtocol
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
from quarterdeck.quic_gateway.carrier.many_streams import ManyStreams
from quarterdeck.quic_gateway.carrier.one_stream import OneStream
from quarterdeck.quic_gateway.carrier.streams import Streams
from quarterdeck.quic_gateway.handlers import CloseWords
from quarterdeck.wire import codes, quicflow

PING_INTERVAL_S: Final = 5.0
"""A peer that was not heard for this long is pinged, so that an idle connection lives."""
_HIGH_WATER_BYTES: Final = 1024 * 1024
"""Unacknowledged bytes above which `send` waits; several times the bandwidth-delay product at 20 MB/s and 10 ms."""
_CLOSE_TIMEOUT_S: Final = 0.5
"""How long a connection that ends may take to acknowledge the last words; CONNECTION_CLOSE drops what is unsent."""

Accept = Callable[["QuicLink"], None]

_STREAMS: Final[dict[str, Callable[[AioquicConnection], Streams]]] = {
    codes.ALPN: OneStream,
    quicflow.ALPN: ManyStreams,
}


class LinkProtocol(QuicConnectionProtocol):
    """What happens on the streams, handed on. All else of QUIC is done by aioquic's protocol."""

    def __init__(self, quic: AioquicConnection, accept: Accept) -> None:
        super().__init__(quic)
        self._accept = accept
        self._streams: Streams | None = None
        self._failure: Exception | None = None
        self._ended = False
        self._receivable = asyncio.Event()
        self._writable = asyncio.Event()
        self.remote = ""
        self.heard_s = self._loop.time()

    async def send_frame(self, frame: bytes) -> None:
        await self._unacknowledged_at_most(_HIGH_WATER_BYTES)
        if self._ended or self._streams is None:
            raise ConnectionLost("the connection is over")
        self._streams.write(frame)
        self._transmit_soon()

    async def next_frame(self) -> bytes | None:
        while True:
            if self._streams is not None and (frame := self._streams.take()) is not None:
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
        words = CloseWords(0, reason) if self._streams is None else self._streams.close_words(reason)
        self.close(words.code, words.phrase)

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
            case HandshakeCompleted(alpn_protocol=alpn):
                self._streams = _STREAMS[alpn or codes.ALPN](self._quic)
                self._accept(QuicLink(self, alpn or codes.ALPN))
            case StreamDataReceived(data=data, end_stream=end_stream, stream_id=stream_id):
                self._take(stream_id, data, fin=end_stream)
            case StreamReset() | StopSendingReceived():
                self._give_up(event)
            case ConnectionTerminated(error_code=0):
                self._end(None)
            case ConnectionTerminated(error_code=error_code, reason_phrase=phrase):
                self._end(ConnectionLost(f"closed with {error_code:#x} {phrase[:80]}".rstrip()))
            case _:
                pass  # addresses and connection ids are the base class's business

    def _take(self, stream_id: int, piece: bytes, *, fin: bool) -> None:
        if self._streams is None or self._ended or self._failure is not None:
            return
        try:
            if self._streams.feed(stream_id, piece, fin=fin):
                self._end(None)
        except (DecodeError, LinkRefused) as refusal:
            # Not over yet: the gateway says goodbye over the same connection.
            self._failure = refusal
        self._receivable.set()

    def _give_up(self, event: StreamReset | StopSendingReceived) -> None:
        if self._streams is None or self._streams.needs_every_stream:
            self._end(ConnectionLost("the agent reset the stream"))
        elif isinstance(event, StreamReset):
            self._streams.reset(event.stream_id)

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
        return 0 if self._streams is None else self._streams.unacknowledged_bytes()


class QuicLink:
    """One connection, as the gateway's `Connection`."""

    def __init__(self, protocol: LinkProtocol, alpn: str) -> None:
        self.protocol = protocol
        self.alpn = alpn
        """The protocol that the handshake agreed on."""
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
