"""The other end of a Unix socket, as a script has it. What agents, monitors, channels and SPICE servers here share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Generic, TypeVar

from quarterdeck.machines.guest import Guest

C = TypeVar("C")


class ScriptedPeer(Generic[C]):
    """Runs one script per connection, in turn; the last one for all that follow. The connection ends with its script.

    `guest`: has the socket as one of its endpoints.
    """

    def __init__(
        self,
        guest: Guest,
        connection: Callable[[asyncio.StreamReader, asyncio.StreamWriter], C],
        scripts: tuple[Callable[[C], Awaitable[None]], ...],
    ) -> None:
        self.guest = guest
        self.connections = 0
        self._connection = connection
        self._scripts = scripts
        self._serving: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator["ScriptedPeer[C]"]:
        """At `path`, which must be short. What a script raises fails the test, unless the client hung up."""
        server = await asyncio.start_unix_server(self._serve, path)
        try:
            yield self
        finally:
            server.close()
            for task in self._serving:
                task.cancel()
            outcomes = await asyncio.gather(*self._serving, return_exceptions=True)
            await server.wait_closed()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.append(task)
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        try:
            await script(self._connection(reader, writer))
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the client hung up, which is its right; or the test is over
        finally:
            writer.transport.abort()
