"""The two seams of the agent, both of them frames and nothing else.

    gateway ◄══ Connection ══► front ◄── ExecutorPort ──► executor

A Connection is what a carrier offers to the front. An ExecutorPort is what the executor offers to the front: the same
frames as on the link. No Python object but bytes crosses the second seam, so the two are processes of their own, joined
by a Unix socket (executor_server.py, executor_client.py), or share one, without a change to either.

How a link looks from the executor:
    Challenge   a new link is being opened. What was on its way is void; the executor answers with a Hello that holds
                what only it knows (journal, highest epoch, capabilities, guests); the front adds the rest.
    Welcome     the link stands. The executor repeats unacknowledged reports and output, and goes on.
The end of a link needs no message: the front stops taking frames, and the next Challenge starts anew. Each link has
an ExecutorSession of its own, so that nothing which was said on one link is ever heard on the next.
"""

from collections.abc import Awaitable, Callable
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


class ExecutorSession(ExecutorPort, Protocol):
    """The executor for the time of one link. Both methods also raise ExecutorLost when it is over."""

    async def close(self) -> None:
        """What has not been taken is void. Any number of calls; never raises."""
        ...


JoinExecutor = Callable[[], Awaitable[ExecutorSession]]
"""Begins a session, and waits for an executor if there is none. A newer session ends the one before."""


class SharedProcess:
    """JoinExecutor of a front that lives in its executor's process."""

    def __init__(self, executor: ExecutorPort) -> None:
        self._executor = executor

    async def __call__(self) -> ExecutorSession:
        return _SharedSession(self._executor)


class _SharedSession:
    """There is nothing to lose here: the next Challenge clears what is on its way."""

    def __init__(self, executor: ExecutorPort) -> None:
        self.send = executor.send
        self.receive = executor.receive

    async def close(self) -> None:
        return
