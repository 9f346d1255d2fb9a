"""Our own agents: everything on one bidirectional stream, which the gateway opens because it speaks first."""

from typing import ClassVar

from aioquic.quic.connection import QuicConnection as AioquicConnection

from quarterdeck.quic_gateway.carrier.streams import unacknowledged_bytes
from quarterdeck.quic_gateway.handlers import CloseWords, FrameIntake
from quarterdeck.wire.framing import encode


class OneStream:
    needs_every_stream: ClassVar[bool] = True

    def __init__(self, quic: AioquicConnection) -> None:
        self._quic = quic
        self._stream_id = quic.get_next_available_stream_id()
        self._intake = FrameIntake(self._stream_id)

    def feed(self, stream_id: int, piece: bytes, *, fin: bool) -> bool:
        self._intake.feed(stream_id, piece)
        return fin

    def reset(self, stream_id: int) -> None:
        pass  # the link ends with it

    def take(self) -> bytes | None:
        return self._intake.take()

    def write(self, frame: bytes) -> None:
        self._quic.send_stream_data(self._stream_id, encode(frame))

    def unacknowledged_bytes(self) -> int:
        return unacknowledged_bytes(self._quic, self._stream_id)

    def close_words(self, reason: str) -> CloseWords:
        return CloseWords(0, reason)  # the Goodbye has said it already
