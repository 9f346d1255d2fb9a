"""The seam inside the carrier: how one protocol uses the streams of a connection. Implemented once per ALPN."""

from typing import ClassVar, Protocol

from aioquic.quic.connection import QuicConnection as AioquicConnection

from quarterdeck.quic_gateway.handlers import CloseWords


class Streams(Protocol):
    """What is done with the streams; frames in and out, as the gateway's `Connection` knows them."""

    needs_every_stream: ClassVar[bool]
    """The link cannot go on when the peer gives up a stream, or does not want what we send on it."""

    def feed(self, stream_id: int, piece: bytes, *, fin: bool) -> bool:
        """Bytes came. True: with them the peer ended the link in order. Raises DecodeError, LinkRefused."""
        ...

    def reset(self, stream_id: int) -> None:
        """The peer gave up its half of a stream."""
        ...

    def take(self) -> bytes | None:
        """The oldest frame that nobody took yet, or None."""
        ...

    def write(self, frame: bytes) -> None:
        """Hand a frame to QUIC, however much waits there already. Raises FrameError for one that is too long."""
        ...

    def unacknowledged_bytes(self) -> int:
        """What was written and has not arrived yet."""
        ...

    def close_words(self, reason: str) -> CloseWords:
        """How QUIC says that the link ends for `reason`, a LinkEnd."""
        ...


def unacknowledged_bytes(quic: AioquicConnection, stream_id: int) -> int:
    """On one stream; 0 when it is done."""
    # Private in aioquic, which has no public word for it; its version is pinned exactly for this reason.
    stream = quic._streams.get(stream_id)
    return 0 if stream is None else len(stream.sender._buffer)
