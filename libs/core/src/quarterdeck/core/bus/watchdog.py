"""Notices a connection that is dead but looks alive.

nats-py's read loop ends silently on an unexpected exception while `is_connected` stays true (nats-py 2.16,
aio/client.py `_read_loop`: `except Exception: log; break`). A peer may also be frozen. Both are found by a message to
ourselves, sent regularly and at once when publishes wait longer than they should.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from quarterdeck.core.bus.connection import Connection
from quarterdeck.core.bus.requests import Requests

_PING_EVERY_S: Final = 5.0
_PING_TIMEOUT_S: Final = 3.0
_SUSPICIOUS_AGE_S: Final = 1.0
"""An acknowledgement normally takes milliseconds."""


class Watchdog:
    """Runs as one task from `start` to `close`."""

    def __init__(
        self, connection: Connection, requests: Requests, pending_age_s: Callable[[], float]
    ) -> None:
        """`pending_age_s`: how long the oldest unacknowledged publish has waited; 0 when there is none."""
        self._connection = connection
        self._requests = requests
        self._pending_age_s = pending_age_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"bus-watchdog-{self._connection.name}")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        quiet_s = 0.0
        while True:
            await asyncio.sleep(_SUSPICIOUS_AGE_S)
            await self._connection.wait_connected()
            quiet_s += _SUSPICIOUS_AGE_S
            if quiet_s < _PING_EVERY_S and self._pending_age_s() < _SUSPICIOUS_AGE_S:
                continue
            quiet_s = 0.0
            if not await self._requests.ping(_PING_TIMEOUT_S) and self._connection.connected:
                self._connection.give_up_client(f"no echo within {_PING_TIMEOUT_S:g} s")
