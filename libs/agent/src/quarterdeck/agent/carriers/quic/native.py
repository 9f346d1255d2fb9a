"""Our own protocol over QUIC: one connection, one bidirectional stream, frames behind their length.

The gateway opens the stream, because it speaks first (Challenge) and a stream exists for its peer only from its first
byte on. aioquic takes whatever is written, however much is unsent already; so `send` waits here while more than a
watermark is unacknowledged. Received bytes are bounded by what a gateway may have queued for one link.
"""

import asyncio
from collections import deque
from typing import Any, Final

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived, StreamReset

from quarterdeck.agent.carriers.quic.handshake import IDLE_TIMEOUT_S, handshake
from quarterdeck.agent.errors import ConnectionLost
from quarterdeck.agent.settings import ServerAddress
from quarterdeck.contracts.errors import DecodeError
from quarterdeck.wire.codes import ALPN
from quarterdeck.wire.framing import FrameDecoder, encode

_CLOSE_TIMEOUT_S: Final = 2.0
_PING_INTERVAL_S: Final = 2.5
"""While nothing is heard: more often would cost a gateway of thousands of agents more than their heartbeats do."""
_PROBE_INTERVAL_S: Final = 1.0
"""Between pings while one is unanswered."""
_UNANSWERED_PINGS: Final = 4
"""So many in a row, and the gateway is gone: at most some 6 s after its death, far below the idle timeout. Counted, not
timed, so that an agent which was itself stopped for a while first hears what came meanwhile."""
_HIGH_WATER_BYTES: Final = 1024 * 1024
"""Unacknowledged bytes above which `send` waits; several times the bandwidth-delay product at 20 MB/s and 10 ms."""
_RECEIVE_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""Frames that wait for `receive`; a gateway queues at most 16 MiB for one link."""


class _StreamProtocol(QuicConnectionProtocol):
    """Frames of the one stream, in and out. Everything else aioquic's protocol does already."""

    def __init__(self, quic: QuicConnection) -> None:
        super().__init__(quic)
        self._stream_id: int | None = None
        self._decoder = FrameDecoder()
        self._frames: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._end: Exception | None = None
        self._ended = False
        self._receivable = asyncio.Event()
        self._writable = asyncio.Event()
        self._ping_timer: asyncio.TimerHandle | None = None
        self._heard = True
        """Anything at all since the last look."""
        self._unanswered_pings = 0

    def start_pings(self) -> None:
        interval_s = _PROBE_INTERVAL_S if self._unanswered_pings else _PING_INTERVAL_S
        self._ping_timer = self._loop.call_later(interval_s, self._look)

    async def send_frame(self, frame: bytes) -> None:
        await self._unacknowledged_at_most(_HIGH_WATER_BYTES)
        if self._ended or self._stream_id is None:
            raise ConnectionLost("the connection has ended")
        self._quic.send_stream_data(self._stream_id, encode(frame))
        self.transmit()

    async def next_frame(self) -> bytes | None:
        while not self._frames:
            if self._ended:
                if self._end is not None:
                    raise self._end
                return None
            self._receivable.clear()
            await self._receivable.wait()
        frame = self._frames.popleft()
        self._waiting_bytes -= len(frame)
        return frame

    async def flush_and_close(self) -> None:
        """Until everything is acknowledged and the connection is over, or the time for either has passed."""
        if self._ping_timer is not None:
            self._ping_timer.cancel()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._unacknowledged_at_most(0)
        except TimeoutError:
            pass  # the gateway does not take it; going away matters more
        self._finish(None)
        self.close()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self.wait_closed()
        except TimeoutError:
            pass
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        self._heard = True
        super().datagram_received(data, addr)
        self._writable.set()

    def quic_event_received(self, event: QuicEvent) -> None:
        match event:
            case StreamDataReceived(data=data, end_stream=end_stream, stream_id=stream_id):
                if self._stream_id is None:
                    self._stream_id = stream_id
                if stream_id == self._stream_id:
                    self._take(data)
                    if end_stream:
                        self._finish(None)
            case StreamReset(stream_id=stream_id) if stream_id == self._stream_id:
                self._finish(ConnectionLost("the gateway reset the stream"))
            case ConnectionTerminated(error_code=0):
                self._finish(None)
            case ConnectionTerminated(error_code=error_code, reason_phrase=phrase):
                self._finish(ConnectionLost(f"closed with {error_code:#x} {phrase}".rstrip()))
            case _:
                pass  # handshake and path events are the base class's business

    def _take(self, piece: bytes) -> None:
        try:
            frames = self._decoder.feed(piece)
        except DecodeError as error:
            self._finish(error)
            return
        self._frames += frames
        self._waiting_bytes += sum(map(len, frames))
        if self._waiting_bytes > _RECEIVE_LIMIT_BYTES:
            self._frames.clear()
            self._finish(ConnectionLost("the gateway sent more than this agent can hold"))
        self._receivable.set()

    def _finish(self, end: Exception | None) -> None:
        if not self._ended:
            self._ended, self._end = True, end
        self._receivable.set()
        self._writable.set()

    def _look(self) -> None:
        """Whether the gateway is still there."""
        if self._ended:
            return
        self._unanswered_pings = 0 if self._heard else self._unanswered_pings
        self._heard = False
        if self._unanswered_pings >= _UNANSWERED_PINGS:
            self._finish(ConnectionLost("the gateway fell silent"))
            return
        self._unanswered_pings += 1
        self._quic.send_ping(0)
        self.transmit()
        self.start_pings()

    async def _unacknowledged_at_most(self, limit_bytes: int) -> None:
        """Waits for acknowledgements, or the end."""
        while not self._ended and self._unacknowledged_bytes() > limit_bytes:
            self._writable.clear()
            await self._writable.wait()

    def _unacknowledged_bytes(self) -> int:
        # Private in aioquic, which has no public word for it; its version is pinned exactly for this reason.
        stream = self._quic._streams.get(self._stream_id) if self._stream_id is not None else None
        return 0 if stream is None else len(stream.sender._buffer)


class QuicConnectionPort:
    """One QUIC connection, as a Connection."""

    def __init__(self, protocol: _StreamProtocol, peer: str) -> None:
        self._protocol = protocol
        self._peer = peer

    @property
    def peer(self) -> str:
        return self._peer

    async def send(self, frame: bytes) -> None:
        await self._protocol.send_frame(frame)

    async def receive(self) -> bytes | None:
        return await self._protocol.next_frame()

    async def close(self) -> None:
        await self._protocol.flush_and_close()


async def connect(address: ServerAddress, ca_pem: bytes) -> QuicConnectionPort:
    """A connection after its handshake. Raises ConnectionLost when none comes about in time."""
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=[ALPN], idle_timeout=IDLE_TIMEOUT_S, server_name=address.host
    )
    configuration.load_verify_locations(cadata=ca_pem)
    protocol = await handshake(address, configuration, _StreamProtocol)
    protocol.start_pings()
    return QuicConnectionPort(protocol, str(address))
