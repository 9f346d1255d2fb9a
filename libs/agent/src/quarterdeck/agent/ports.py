"""The two seams of the agent, both of them frames and nothing else.

    gateway ◄══ Connection ══► front ◄── ExecutorPort ──► executor

A Connection is what a carrier offers to the front. An ExecutorPort is what the executor offers to the front: the same
frames as on the link, so that the two can become processes of their own, joined by a Unix socket, without a change to
either. No Python object but bytes crosses the second seam.

How a link looks from the executor:
    Challenge   a new link is being opened. What was on its way is void; the executor answers with a Hello that holds
                what only it knows (journal, highest epoch, capabilities, guests); the front adds the rest.
    Welcome     the link stands. The executor repeats unacknowledged reports and output, and goes on.
The end of a link needs no message: the front stops taking frames, and the next Challenge starts anew.
"""

from typing import Protocol


class Connection(Protocol):
    """One carrier connection, from connect to close. Implementations: carriers/."""

    @property
    def peer(self) -> str:
        """Address of the gateway, for logs."""
        ...

    async def send(self, frame: bytes) -> None:
        """Returns when the carrier took `frame` and has room for more: a slow gateway holds back its sender here.

        Called by one task at a time. Raises ConnectionLost.
        """
        ...

    async def receive(self) -> bytes | None:
        """The next frame, or None when the gateway ended the stream in order. Called by one task at a time.

        Raises ConnectionLost, or FrameError when the bytes are no frames.
        """
        ...

    async def close(self) -> None:
        """Ends the connection, after what `send` took has had its chance. Any number of calls; never raises."""
        ...


class ExecutorPort(Protocol):
    """Where a front hands over what the gateway said, and takes what the executor has to say."""

    async def send(self, frame: bytes) -> None:
        """`frame`: a GatewayFrame, serialised. Returns at once, or holds the link back when there is too much to do.

        Raises DecodeError when the bytes are no GatewayFrame.
        """
        ...

    async def receive(self) -> bytes:
        """The next AgentFrame, serialised, as soon as there is anything to say. Called by one task at a time."""
        ...
