"""Removes what commands left in guests, beside whatever comes next: no command's end waits for that."""

import asyncio
from typing import Final

import structlog

from quarterdeck.agent.guests.connections import Connections
from quarterdeck.agent.guests.sharing import NotReached
from quarterdeck.machines.errors import MachineError
from quarterdeck.machines.guest import Guest
from quarterdeck.machines.qga import LiveExec

log = structlog.get_logger()

_HURRY_S: Final = 2.0
"""For all that is left when the agent stops."""


class Tidying:
    """Make it inside a running loop, and in the end finish it."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._tasks: set[asyncio.Task[None]] = set()

    def leave(self, guest: Guest, live: LiveExec) -> None:
        """`live` is over, or never began."""
        task = asyncio.create_task(self._remove(guest, live), name="guests.tidy")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """What is left, as far as that is quick."""
        if tasks := set(self._tasks):
            await asyncio.wait(tasks, timeout=_HURRY_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _remove(self, guest: Guest, live: LiveExec) -> None:
        try:
            async with self._connections.programs(guest):
                await live.remove()
        except (MachineError, NotReached) as error:
            log.debug("guests.files_left", guest=guest.name, cause=str(error))
