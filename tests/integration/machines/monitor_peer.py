"""A monitor of a test, on a real Unix socket, that says what its script says: for what QEMU cannot be made to do."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint

GREETING: Final = (
    b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}}\r\n'
)


class MonitorConnection:
    """The monitor's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._text = ""

    async def greet(self) -> None:
        """Greeting and negotiation, as QEMU does it."""
        self.write(GREETING)
        request = await self.request()
        self.answer(request, {})

    async def request(self) -> dict[str, Any]:
        """The client's next one. Raises EOFError."""
        while True:
            try:
                request, end = json.JSONDecoder().raw_decode(self._text)
            except json.JSONDecodeError:
                if not (piece := await self.reader.read(65_536)):
                    raise EOFError from None
                self._text += piece.decode()
            else:
                self._text = self._text[end:].lstrip()
                assert isinstance(request, dict)
                return request

    async def until_client_leaves(self) -> None:
        while await self.reader.read(65_536):
            pass

    def answer(self, request: dict[str, Any], returned: Any) -> None:
        """With the request's id, if it has one: that of the negotiation has none."""
        answer = {"return": returned} | {name: request[name] for name in ("id",) if name in request}
        self.write(json.dumps(answer).encode() + b"\r\n")

    def write(self, content: bytes) -> None:
        self.writer.write(content)


Script = Callable[[MonitorConnection], Awaitable[None]]


class Monitor:
    """Runs one script per connection, in turn; the last one for all that follow."""

    def __init__(self, path: Path, scripts: tuple[Script, ...]) -> None:
        self.guest = Guest(name="vm1", endpoints={ProtocolType.QMP: UnixEndpoint(str(path))})
        self.connections = 0
        self._scripts = scripts

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        try:
            await script(MonitorConnection(reader, writer))
        except (OSError, EOFError):
            pass  # the client left, which is its right
        finally:
            writer.transport.abort()


@asynccontextmanager
async def monitor(directory: Path, *scripts: Script) -> AsyncIterator[Monitor]:
    path = directory / "monitor.sock"
    peer = Monitor(path, scripts)
    server = await asyncio.start_unix_server(peer.serve, path)
    try:
        yield peer
    finally:
        server.close()
        await server.wait_closed()
