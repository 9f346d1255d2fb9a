"""One WebSocket of a batch: tells how it stands and what happens, hears which tasks to stop, and ends with a code.

Two tasks, one per direction; whichever ends first ends the session. Called by sockets.py with a connection that was
accepted and a place in the batch's hub.
"""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from quarterdeck.broadcaster.handlers import socket_messages
from quarterdeck.broadcaster.handlers.frames import Format, Variant
from quarterdeck.broadcaster.handlers.openings import Prologue
from quarterdeck.broadcaster.handlers.socket_requests import child_to_terminate
from quarterdeck.broadcaster.names import Names
from quarterdeck.broadcaster.telling import Place, Telling
from quarterdeck.contracts.errors import (
    NotAuthenticated,
    NotAuthorised,
    NotFound,
    QuarterdeckError,
    Unavailable,
)
from quarterdeck.core.halts import Halts
from quarterdeck.core.store import BatchView, Store
from quarterdeck.web import sockets
from quarterdeck.web.operations import may
from quarterdeck.web.problems import problem_of
from quarterdeck.web.tokens import Authenticator, Principal

_TERMINATE: Final = "batch.terminate"
"""The action that REST's terminate paths require."""
_MAX_ERRORS: Final = 10
"""A client that sends more nonsense than this is no client of ours."""
_PAGE: Final = 500
"""Tasks read from the store at once."""


class Close(Exception):
    """The session is over, and the connection is to end with `code`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class SocketParts:
    """What all sessions of a process share."""

    store: Store
    halts: Halts
    authenticator: Authenticator
    names: Names


class SocketSession:
    """`place`: in the hub of a batch. Use `run` once."""

    def __init__(
        self, socket: sockets.Socket, principal: Principal, place: Place, parts: SocketParts
    ) -> None:
        self._socket = socket
        self._principal = principal
        self._place = place
        self._tenant = place.scope.tenant
        self._batch_id = place.scope.batch_id or ""
        self._parts = parts
        self._told: dict[str, int] = {}
        """Entity → version of the last that was told of it."""

    async def run(self) -> None:
        """Returns when the client has left. Raises Close, ClientStalled, QuarterdeckError, OSError."""
        telling = asyncio.create_task(self._tell(), name="socket-tell")
        hearing = asyncio.create_task(self._hear(), name="socket-hear")
        try:
            await asyncio.wait([telling, hearing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            telling.cancel()
            hearing.cancel()
            # Our own cancellation must not cut short what a stop under way has to finish.
            await asyncio.shield(asyncio.wait([telling, hearing]))
        ends = [task.exception() for task in (hearing, telling) if not task.cancelled()]
        for end in ends:
            if end is not None:
                raise end

    async def _tell(self) -> None:
        await self._tell_how_it_stands()
        telling = Telling(self._place, Variant(Format.SOCKET, self._place.incarnation))
        async with aclosing(telling.pieces()) as pieces:
            async for piece in pieces:
                for line in socket_messages.decode(piece):
                    if line.versioned:
                        if line.version <= self._told.get(line.entity, 0):
                            continue
                        self._told[line.entity] = line.version
                    await self._socket.say(line.text)
        if telling.over:
            raise Close(sockets.ENDED, "the batch has ended")
        raise Close(sockets.COME_BACK, "come back")

    async def _tell_how_it_stands(self) -> None:
        """Read after the place was taken, so that nothing lies between this and what follows."""
        opening = self._place.opening
        if opening.prologue is Prologue.NOTHING:
            return
        batch = await self._look()
        self._told[batch.batch_id] = batch.version
        # A resync has an id, or who loses the connection right after it would be told to start over again.
        resync = opening.prologue is Prologue.RESYNC
        event_id = f"{self._place.incarnation}-{opening.after}" if resync else ""
        await self._socket.say(socket_messages.created(batch, event_id))
        name_of = await self._parts.names.of_tenant(self._tenant)
        for offset in range(0, len(batch.targets), _PAGE):
            for child in await self._parts.store.children(batch, offset=offset, limit=_PAGE):
                self._told[child.command_id] = child.version
                await self._socket.say(socket_messages.child(child, name_of))

    async def _hear(self) -> None:
        """Answers nothing to a stop that is taken in: what becomes of it is told like everything else."""
        errors = 0
        while (raw := await self._socket.hear()) is not None:
            try:
                await self._stop(child_to_terminate(raw, self._batch_id))
            except Unavailable as error:
                await self._socket.say(sockets.error_text(problem_of(error)))
            except QuarterdeckError as error:
                errors += 1
                await self._socket.say(sockets.error_text(problem_of(error)))
                if errors >= _MAX_ERRORS:
                    raise Close(sockets.POLICY_VIOLATION, "too many errors") from error

    async def _stop(self, child_id: str | None) -> None:
        """Asks again who it is: the token may have been revoked since the handshake."""
        if not self._parts.authenticator.holds(self._principal):
            raise NotAuthenticated("the token is not valid any more", field="Authorization")
        if not may(self._principal, _TERMINATE):
            raise NotAuthorised(f"not allowed: {_TERMINATE}")
        if child_id is None:
            await self._parts.halts.batch(self._tenant, self._batch_id)
            return
        await self._parts.halts.child(await self._look(), child_id)

    async def _look(self) -> BatchView:
        view = await self._parts.store.batch(self._tenant, self._batch_id)
        if view is None:
            raise NotFound("batch_command_id: no such batch", field="batch_command_id")
        return view
