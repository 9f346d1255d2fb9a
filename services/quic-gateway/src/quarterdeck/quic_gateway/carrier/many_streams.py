"""quicflow clients: a stream per heartbeat, command and answer, opened by either side. Frames: packed StreamFrames."""

from typing import ClassVar

from aioquic.quic.connection import QuicConnection as AioquicConnection

from quarterdeck.quic_gateway.carrier.streams import unacknowledged_bytes
from quarterdeck.quic_gateway.handlers import CloseWords, quicflow_close_words
from quarterdeck.wire.framing import encode
from quarterdeck.wire.quicflow import MAX_FRAME_BYTES
from quarterdeck.wire.quicflow_streams import StreamFrame, StreamIntake


class ManyStreams:
    needs_every_stream: ClassVar[bool] = False

    def __init__(self, quic: AioquicConnection) -> None:
        self._quic = quic
        self._intake = StreamIntake()
        self._writing: set[int] = set()
        """Streams on which something may be unacknowledged."""

    def feed(self, stream_id: int, piece: bytes, *, fin: bool) -> bool:
        self._intake.feed(stream_id, piece, fin=fin)
        return False

    def reset(self, stream_id: int) -> None:
        self._intake.reset(stream_id)

    def take(self) -> bytes | None:
        received = self._intake.take()
        return None if received is None else received.pack()

    def write(self, frame: bytes) -> None:
        sent = StreamFrame.unpack(frame)
        if sent.frame or sent.fin:
            piece = encode(sent.frame, MAX_FRAME_BYTES) if sent.frame else b""
            try:
                self._quic.send_stream_data(sent.stream_id, piece, end_stream=sent.fin)
            except (ValueError, RuntimeError):
                return  # the peer is done with this stream, and with what it would have heard there
            self._writing.add(sent.stream_id)
        if sent.stop:
            self._stop(sent.stream_id)

    def unacknowledged_bytes(self) -> int:
        waiting = {stream_id: unacknowledged_bytes(self._quic, stream_id) for stream_id in self._writing}
        self._writing = {stream_id for stream_id, size_bytes in waiting.items() if size_bytes}
        return sum(waiting.values())

    def close_words(self, reason: str) -> CloseWords:
        return quicflow_close_words(reason)

    def _stop(self, stream_id: int) -> None:
        """Without it, a client that never ends its half would leave us one stream more per command."""
        self._intake.reset(stream_id)
        try:
            self._quic.stop_stream(stream_id, 0)
        except ValueError:
            pass  # both halves had ended already
