"""quicflow over QUIC: one connection, a stream per heartbeat, command and answer, opened by either side.

aioquic takes whatever is written, however much is unsent already; so `send` waits here while more than a watermark is
unacknowledged. What is received and not taken is bounded by StreamIntake.
"""

import asyncio
from typing import Any, Final

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived, StreamReset

from quarterdeck.agent.carriers.quic.handshake import IDLE_TIMEOUT_S, handshake
from quarterdeck.agent.errors import ConnectionLost, LinkEnded
from quarterdeck.agent.settings import ServerAddress
from quarterdeck.contracts.errors import DecodeError, LinkRefused
from quarterdeck.wire.framing import encode
from quarterdeck.wire.quicflow import ALPN, MAX_FRAME_BYTES
from quarterdeck.wire.quicflow_streams import StreamFrame, StreamIntake

_CLOSE_TIMEOUT_S: Final = 2.0
_HIGH_WATER_BYTES: Final = 1024 * 1024
"""Unacknowledged bytes above which `send` waits."""


class _BackboneProtocol(QuicConnectionProtocol):
    """Frames of all streams, in and out. Everything else aioquic's protocol does already."""

    def __init__(self, quic: QuicConnection) -> None:
        super().__init__(quic)
        self._intake = StreamIntake()
        self._writing: set[int] = set()
        self._end: Exception | None = None
        self._receivable = asyncio.Event()
        self._writable = asyncio.Event()

    def new_stream(self) -> int:
        stream_id = self._quic.get_next_available_stream_id()
        self._quic.send_stream_data(stream_id, b"")  # takes the id; nothing is sent of it
        return stream_id

    async def send_frame(self, sent: StreamFrame) -> None:
        while self._end is None and self._unacknowledged_bytes() > _HIGH_WATER_BYTES:
            await self._wait(self._writable)
        if self._end is not None:
            raise ConnectionLost("the connection has ended")
        try:
            piece = encode(sent.frame, MAX_FRAME_BYTES)
            self._quic.send_stream_data(sent.stream_id, piece, end_stream=sent.fin)
        except (ValueError, RuntimeError):
            return  # the server does not want to hear more on this stream
        self._writing.add(sent.stream_id)
        self.transmit()

    async def next_frame(self) -> StreamFrame:
        while (received := self._intake.take()) is None:
            if self._end is not None:
                raise self._end
            await self._wait(self._receivable)
        return received

    async def flush_and_close(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                while self._end is None and self._unacknowledged_bytes() > 0:
                    await self._wait(self._writable)
        except TimeoutError:
            pass  # the server does not take it; going away matters more
        self._finish(LinkEnded("leaving"))
        self.close()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self.wait_closed()
        except TimeoutError:
            pass
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        super().datagram_received(data, addr)
        self._writable.set()

    def quic_event_received(self, event: QuicEvent) -> None:
        match event:
            case StreamDataReceived(data=piece, end_stream=fin, stream_id=stream_id):
                self._take(stream_id, piece, fin=fin)
            case StreamReset(stream_id=stream_id):
                self._intake.reset(stream_id)
            case ConnectionTerminated(error_code=code, reason_phrase=phrase, frame_type=None):
                self._finish(LinkEnded(phrase or "closed", f"closed with code {code}: {phrase}".rstrip(": ")))
            case ConnectionTerminated(error_code=code, reason_phrase=phrase):
                self._finish(ConnectionLost(f"closed with {code:#x} {phrase}".rstrip()))
            case _:
                pass  # handshake and path events are the base class's business

    def _take(self, stream_id: int, piece: bytes, *, fin: bool) -> None:
        try:
            self._intake.feed(stream_id, piece, fin=fin)
        except DecodeError as error:
            self._finish(error)
        except LinkRefused:
            self._finish(ConnectionLost("the server sent more than this client can hold"))
        self._receivable.set()

    def _finish(self, end: Exception) -> None:
        self._end = self._end or end
        self._receivable.set()
        self._writable.set()

    async def _wait(self, news: asyncio.Event) -> None:
        news.clear()
        await news.wait()

    def _unacknowledged_bytes(self) -> int:
        # Private in aioquic, which has no public word for it; its version is pinned exactly for this reason.
        streams = self._quic._streams
        waiting = {
            stream_id: len(streams[stream_id].sender._buffer)
            for stream_id in self._writing
            if stream_id in streams
        }
        self._writing = {stream_id for stream_id, size_bytes in waiting.items() if size_bytes}
        return sum(waiting.values())


class BackboneConnection:
    """One QUIC connection that speaks quicflow."""

    def __init__(self, protocol: _BackboneProtocol) -> None:
        self._protocol = protocol

    def new_stream(self) -> int:
        """A stream of our own, to send on."""
        return self._protocol.new_stream()

    async def send(self, sent: StreamFrame) -> None:
        """Returns when there is room for more. Any number of tasks. Raises ConnectionLost."""
        await self._protocol.send_frame(sent)

    async def receive(self) -> StreamFrame:
        """The next frame of any stream. One task. Raises ConnectionLost; LinkEnded (the server closed); DecodeError."""
        return await self._protocol.next_frame()

    async def close(self) -> None:
        await self._protocol.flush_and_close()


async def connect(address: ServerAddress, ca_pem: bytes) -> BackboneConnection:
    """A connection after its handshake. Raises ConnectionLost when none comes about in time."""
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=[ALPN], idle_timeout=IDLE_TIMEOUT_S, server_name=address.host
    )
    configuration.load_verify_locations(cadata=ca_pem)
    return BackboneConnection(await handshake(address, configuration, _BackboneProtocol))
