"""Removes outbox entries that the bus has confirmed, a moment later and many at a time.

Nobody waits for it: an entry that is still there when a process dies is published again by the sweep, under the same
Nats-Msg-Id. So a request pays no round trip for it, and a busy shard pays one XDEL for many.
"""

import asyncio
from typing import Final

import structlog

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core.store import keys
from quarterdeck.core.store.connection import ScriptRunner
from quarterdeck.core.store.shapes import OutboxEntry

log = structlog.get_logger()

_DELAY_S: Final = 0.1
"""Far below the age at which the sweep takes an entry for forgotten by its writer."""


class Forgetting:
    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner
        self._confirmed: dict[int, list[str]] = {}
        self._later: asyncio.Task[None] | None = None

    def add(self, entries: list[OutboxEntry]) -> None:
        for entry in entries:
            self._confirmed.setdefault(entry.shard, []).append(entry.entry_id)
        if self._later is None and self._confirmed:
            self._later = asyncio.create_task(self._remove_later(), name="outbox-forgetting")

    async def remove(self) -> None:
        """Everything that was added, now. Raises Unavailable; then it is left to the sweep."""
        confirmed, self._confirmed = self._confirmed, {}
        if confirmed:
            await self._runner.plain(
                [("XDEL", keys.key(shard, "outbox"), *ids) for shard, ids in confirmed.items()]
            )

    async def close(self) -> None:
        """As `remove`, and nothing runs afterwards."""
        if self._later is not None:
            self._later.cancel()
            await asyncio.wait([self._later])
        await self._try_remove()

    async def _remove_later(self) -> None:
        await asyncio.sleep(_DELAY_S)
        self._later = None
        await self._try_remove()

    async def _try_remove(self) -> None:
        try:
            await self.remove()
        except Unavailable as error:
            log.info("store.outbox_left_to_sweep", reason=error.message)
