"""A monitor of a test, on a real Unix socket, that says what its script says: for what QEMU cannot be made to do."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from tests.integration.machines.scripted_peer import ScriptedPeer

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


@asynccontextmanager
async def monitor(directory: Path, *scripts: Script) -> AsyncIterator[ScriptedPeer[MonitorConnection]]:
    """In `directory`, whose path must be short."""
    path = directory / "monitor.sock"
    guest = Guest(name="vm1", endpoints={ProtocolType.QMP: UnixEndpoint(str(path))})
    async with ScriptedPeer(guest, MonitorConnection, scripts).listening(path) as peer:
        yield peer
