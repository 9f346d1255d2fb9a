"""An agent of a test, on a real Unix socket, that says what its script says: for what qemu-ga cannot be made to do."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from tests.integration.machines.scripted_peer import ScriptedPeer


class AgentConnection:
    """The agent's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def request(self) -> dict[str, Any]:
        """The client's next one that is neither sync nor ping; those are answered. Raises EOFError."""
        while True:
            request = await self.any_request()
            match request["execute"]:
                case "guest-sync-delimited":
                    self.answer_sync(request)
                case "guest-ping":
                    self.answer(request, {})
                case _:
                    return request

    async def any_request(self) -> dict[str, Any]:
        """Raises EOFError."""
        line = await self._reader.readline()
        if not line:
            raise EOFError
        request = json.loads(line.lstrip(b"\xff"))
        assert isinstance(request, dict)
        return request

    async def until_client_leaves(self) -> None:
        while await self._reader.read(65_536):
            pass

    def answer_sync(self, request: dict[str, Any]) -> None:
        self.write(b"\xff" + json.dumps({"return": request["arguments"]["id"]}).encode() + b"\n")

    def answer(self, request: dict[str, Any], returned: Any) -> None:
        self.write(json.dumps({"return": returned, "id": request["id"]}).encode() + b"\n")

    def refuse(self, request: dict[str, Any], error_class: str, description: str) -> None:
        error = {"class": error_class, "desc": description}
        self.write(json.dumps({"error": error, "id": request["id"]}).encode() + b"\n")

    def write(self, content: bytes) -> None:
        self.writer.write(content)


Script = Callable[[AgentConnection], Awaitable[None]]


@asynccontextmanager
async def agent(directory: Path, *scripts: Script) -> AsyncIterator[ScriptedPeer[AgentConnection]]:
    """In `directory`, whose path must be short."""
    path = directory / "agent.sock"
    guest = Guest(name="vm1", endpoints={ProtocolType.QGA: UnixEndpoint(str(path))})
    async with ScriptedPeer(guest, AgentConnection, scripts).listening(path) as peer:
        yield peer
