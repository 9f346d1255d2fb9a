"""The front's end of the Unix socket: an ExecutorSession in a process of its own, one connection for each link."""

import asyncio
from collections import deque
from pathlib import Path
from typing import Final

import structlog

from quarterdeck.agent.errors import ExecutorLost
from quarterdeck.agent.executor_socket import BUFFER_BYTES, connect
from quarterdeck.wire.framing import FrameDecoder, FrameError, encode

log = structlog.get_logger()

_RETRY_S: Final = 0.1
"""Between looks for an executor that is not there. It is on this machine, and a look costs microseconds."""


class RemoteExecutor:
    """JoinExecutor of a front whose executor listens in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def __call__(self) -> "RemoteSession":
        missing = False
        while True:
            try:
                connection = connect(self._directory)
            except OSError as error:
                if not missing:
                    log.info("front.executor_awaited", cause=error.strerror)
                    missing = True
                await asyncio.sleep(_RETRY_S)
                continue
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=BUFFER_BYTES)
            return RemoteSession(reader, writer)


class RemoteSession:
    """One connection, as an ExecutorSession."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = FrameDecoder()
        self._frames: deque[bytes] = deque()
        writer.transport.set_write_buffer_limits(high=BUFFER_BYTES)

    async def send(self, frame: bytes) -> None:
        """An executor that takes nothing holds the link back here."""
        try:
            self._writer.write(encode(frame))
            await self._writer.drain()
        except ConnectionError as error:
            raise ExecutorLost("the executor ended the session") from error

    async def receive(self) -> bytes:
        while not self._frames:
            try:
                piece = await self._reader.read(BUFFER_BYTES)
                self._frames += self._decoder.feed(piece)
            except (ConnectionError, FrameError) as error:
                raise ExecutorLost("the executor ended the session") from error
            if not piece:
                raise ExecutorLost("the executor ended the session")
        return self._frames.popleft()

    async def close(self) -> None:
        self._writer.transport.abort()
