"""A TCP proxy whose connections a test may slow down, silence, cut or leave half open.

Owns the two halves of each connection and the order of their bytes: whatever happens, what arrives is a prefix of what
was sent. Called by tests that put it between an agent and a gRPC gateway, and by the tests of watchers.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final, Self

from quarterdeck.testing.proxy.faults import CALM, Dice, Faults

_READ_BYTES: Final = 64 * 1024
_MAX_UNDER_WAY_BYTES: Final = 1024 * 1024
"""Per direction and connection; beyond that the sender is no longer read, as with a full socket buffer."""
_RST_AT_CLOSE: Final = struct.pack("ii", 1, 0)
"""Linger on, for zero seconds: close() sends RST and drops what was queued. Source: socket(7), SO_LINGER."""


class Side(StrEnum):
    CLIENT = "client"
    SERVER = "server"


class TcpProxy:
    """Forwards `port` on loopback to `target`, which may be down and come back."""

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self._target = (host, port)
        self._seed = seed
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._up = self._down = CALM
        self._accepted = 0
        self.refusing = False
        """New connections are reset as soon as they come."""
        self.down_bytes: Callable[[], int | None] = lambda: None
        """Asked for each new connection: after so many bytes towards the client it is cut; None: never."""
        self.cuts = 0
        """Connections that `down_bytes` ended."""
        self.port = 0
        """The proxy's own."""

    @classmethod
    @asynccontextmanager
    async def running(cls, host: str, port: int, *, seed: int = 0) -> AsyncIterator[Self]:
        proxy = cls(host, port, seed=seed)
        server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            proxy.cut()
            await asyncio.gather(*proxy._tasks, return_exceptions=True)
            await server.wait_closed()

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._connections)

    @property
    def up(self) -> Faults:
        """Client to server."""
        return self._up

    @up.setter
    def up(self, faults: Faults) -> None:
        self._up = faults
        self._tell_all()

    @property
    def down(self) -> Faults:
        """Server to client."""
        return self._down

    @down.setter
    def down(self, faults: Faults) -> None:
        self._down = faults
        self._tell_all()

    def cut(self) -> None:
        """Resets all connections of this moment at both ends; bytes under way are lost."""
        for connection in tuple(self._connections):
            connection.reset()

    def half_open(self, left_alone: Side) -> None:
        """Resets the other end alone: `left_alone` keeps a connection that nobody reads or answers any more."""
        for connection in tuple(self._connections):
            connection.reset_all_but(left_alone)

    def _tell_all(self) -> None:
        for connection in self._connections:
            connection.faults_changed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.refusing:
            return _reset(writer)
        self._accepted += 1
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target)
        except OSError:
            return _reset(writer)
        connection = _Connection(writer, there_writer)
        self._connections.add(connection)
        number = f"{self._seed}-{self._accepted}"
        upward = _Direction(reader, there_writer, connection, Dice(f"{number}-up"), lambda: self._up)
        downward = _Direction(there_reader, writer, connection, Dice(f"{number}-down"), lambda: self._down)
        downward.left_bytes = self.down_bytes()
        try:
            await asyncio.gather(upward.run(), downward.run())
        finally:
            self.cuts += downward.left_bytes == 0
            self._connections.discard(connection)
            writer.close()
            there_writer.close()
        return None


class _Connection:
    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._ends = {Side.CLIENT: client, Side.SERVER: server}
        self._waiting: list[asyncio.Event] = []
        self.abandoned = False
        """One end is gone and the other must not learn of it."""

    def watch(self, event: asyncio.Event) -> None:
        """`event` is set whenever the faults change."""
        self._waiting.append(event)

    def faults_changed(self) -> None:
        for event in self._waiting:
            event.set()

    def reset(self) -> None:
        self.abandoned = False
        for writer in self._ends.values():
            _reset(writer)
        self.faults_changed()

    def reset_all_but(self, left_alone: Side) -> None:
        self.abandoned = True
        for side, writer in self._ends.items():
            if side is not left_alone:
                _reset(writer)


class _Direction:
    """One way of one connection: reads, holds each piece as long as the faults say, writes in order."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: _Connection,
        dice: Dice,
        faults_now: Callable[[], Faults],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._connection = connection
        self._dice = dice
        self._faults_now = faults_now
        self._changed = asyncio.Event()
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._under_way_bytes = 0
        self._moved = asyncio.Event()
        self._ended = False
        self.left_bytes: int | None = None
        """How much more may pass before the connection is cut."""
        connection.watch(self._changed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as halves:
            halves.create_task(self._read())
            halves.create_task(self._write())

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while piece := await self._reader.read(_READ_BYTES):
                if self._connection.abandoned:
                    continue  # the kernel's buffer must not fill up: that would be a sign of life
                due_s = loop.time() + self._dice.stream_delay_s(self._faults_now())
                if self._under_way:
                    due_s = max(due_s, self._under_way[-1][0])
                self._under_way.append((due_s, piece))
                self._under_way_bytes += len(piece)
                self._moved.set()
                while self._under_way_bytes > _MAX_UNDER_WAY_BYTES and not self._writer.is_closing():
                    self._changed.clear()
                    await self._changed.wait()
        except ConnectionError:
            pass  # reset, by us or by an end
        finally:
            self._ended = True
            self._moved.set()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._under_way or not self._ended:
                if not self._under_way:
                    self._moved.clear()
                    await self._moved.wait()
                    continue
                due_s, piece = self._under_way[0]
                if (left_s := due_s - loop.time()) > 0:
                    await asyncio.sleep(left_s)
                while self._faults_now().black_hole and not self._writer.is_closing():
                    self._changed.clear()
                    await self._changed.wait()
                self._under_way.popleft()
                self._under_way_bytes -= len(piece)
                self._changed.set()
                self._writer.write(piece[: self.left_bytes])
                await self._writer.drain()
                if self.left_bytes is not None:
                    self.left_bytes -= min(len(piece), self.left_bytes)
                    if self.left_bytes == 0:
                        return self._connection.reset()
        except ConnectionError:
            pass
        finally:
            self._changed.set()
            if not self._connection.abandoned and not self._writer.is_closing():
                self._writer.write_eof()
        return None


def _reset(writer: asyncio.StreamWriter) -> None:
    end: socket.socket | None = writer.get_extra_info("socket")
    if end is not None and not writer.is_closing():
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_AT_CLOSE)
    writer.transport.abort()
