"""Notices a connection that is dead but looks alive.

nats-py's read loop ends silently on an unexpected exception while `is_connected` stays true (nats-py 2.16,
aio/client.py `_read_loop`: `except Exception: log; break`). A peer may also be frozen. Both are found by a message to
ourselves, sent regularly and at once when publishes wait longer than they should.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from quarterdeck.core.bus.connection import Connection
from quarterdeck.core.bus.requests import Requests


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long the watchdog bears silence. The defaults are for production; tests shorten them."""

    ping_every_s: float = 5.0
    ping_timeout_s: float = 3.0
    suspicious_age_s: float = 1.0
    """An acknowledgement that takes longer is worth a ping at once; normal are milliseconds."""


PATIENT: Final = Patience()


class Watchdog:
    """Runs as one task from `start` to `close`."""

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        pending_age_s: Callable[[], float],
        patience: Patience,
    ) -> None:
        """`pending_age_s`: how long the oldest unacknowledged publish has waited; 0 when there is none."""
        self._connection = connection
        self._requests = requests
        self._pending_age_s = pending_age_s
        self._patience = patience
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"bus-watchdog-{self._connection.name}")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        patience = self._patience
        quiet_s = 0.0
        while True:
            await asyncio.sleep(patience.suspicious_age_s)
            await self._connection.wait_connected()
            quiet_s += patience.suspicious_age_s
            if quiet_s < patience.ping_every_s and self._pending_age_s() < patience.suspicious_age_s:
                continue
            quiet_s = 0.0
            if not await self._requests.ping(patience.ping_timeout_s) and self._connection.connected:
                self._connection.give_up_client(f"no echo within {patience.ping_timeout_s:g} s")
