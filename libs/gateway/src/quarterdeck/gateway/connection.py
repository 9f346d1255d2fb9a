"""What a link needs of its carrier: frames out, frames in, and an end. The seam between this library and the carriers.

Implemented by each gateway service's `carrier.py`, and by a queue pair in tests. Knows nothing of what is in a frame.
"""

from typing import Protocol


class ConnectionLost(Exception):
    """The carrier broke: reset, idle timeout, TLS failure. `cause`: short text for the log, nothing the peer wrote."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Connection(Protocol):
    """One carrier connection, from accept to close."""

    @property
    def peer(self) -> str:
        """Address of the other end, for logs."""
        ...

    async def send(self, frame: bytes) -> None:
        """Returns when the carrier took `frame` and has room for more: a slow peer holds back its sender here.

        Called by one task at a time. Raises ConnectionLost.
        """
        ...

    async def receive(self) -> bytes | None:
        """The next frame, or None when the peer ended the stream in order or `close` was called here.

        Called by one task at a time. Raises ConnectionLost when it broke; FrameError (a DecodeError) when the bytes
        are no frames; LinkRefused(overflow) when the peer sent more than it was allowed to.
        """
        ...

    async def close(self, reason: str) -> None:
        """Ends the connection and whatever waits in `receive`. Any number of calls; never raises, never waits long."""
        ...
