"""A carrier made of two queues: what one end sends, the other receives. For tests of what is behind the carriers."""

import asyncio

from quarterdeck.gateway.connection import ConnectionLost


class PipeEnd:
    """One end of a pipe; implements the gateway's `Connection`."""

    def __init__(self, name: str) -> None:
        self.other: PipeEnd = self
        self.closed_with: str | None = None
        self.reads = asyncio.Event()
        """Cleared: this end takes nothing, and `send` of the other end waits."""
        self.reads.set()
        self._name = name
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue()

    @property
    def peer(self) -> str:
        return self.other._name

    async def send(self, frame: bytes) -> None:
        await self.other.reads.wait()
        if self.closed_with is not None or self.other.closed_with is not None:
            raise ConnectionLost("the pipe is closed")
        self.other._frames.put_nowait(frame)

    async def receive(self) -> bytes | None:
        return await self._frames.get()

    async def close(self, reason: str) -> None:
        if self.closed_with is None:
            self.closed_with = reason
            self._frames.put_nowait(None)
            self.other._frames.put_nowait(None)


def pipe() -> tuple[PipeEnd, PipeEnd]:
    """The gateway's end and the agent's."""
    ours, theirs = PipeEnd("gateway"), PipeEnd("agent")
    ours.other, theirs.other = theirs, ours
    return ours, theirs
