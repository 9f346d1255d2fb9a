"""Notices that the state is not whole, and sees to it: a task of every dispatcher, of which one at a time rebuilds.

While all is well it costs one round trip to Redis per round, and every few seconds notes how far the log is known.
"""

import asyncio
from typing import Final

import structlog

from quarterdeck.contracts import streams
from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core.bus import Bus, BusError
from quarterdeck.core.clock import Clock
from quarterdeck.core.rebuild.log import Log
from quarterdeck.core.rebuild.rebuilder import Rebuilder, RebuildSettings
from quarterdeck.core.rebuild.restore import Restore
from quarterdeck.core.store import Store
from quarterdeck.core.store.restoring import Horizon, Standing

log = structlog.get_logger()

_ROUND_S: Final = 0.5
_HORIZON_S: Final = 5.0
"""How much of the log is read again after a restart of Redis."""


class StateKeeper:
    def __init__(self, bus: Bus, store: Store, clock: Clock, settings: RebuildSettings | None = None) -> None:
        self._bus = bus
        self._store = store
        self._clock = clock
        self._rebuilder = Rebuilder(bus, store, clock, settings)
        self._late: _Latecomers | None = None
        self._horizon_at_s = 0.0

    async def run(self) -> None:
        """Until cancelled, through outages of both brokers."""
        while True:
            try:
                await self.round()
            except (Unavailable, BusError) as error:
                log.info("rebuild.waiting", code=error.code, reason=error.message)
            await asyncio.sleep(_ROUND_S)

    async def round(self) -> None:
        """One look, and whatever it shows to be necessary. Raises Unavailable, BusError."""
        await self._store.shut_if_moved()
        standings = await self._store.shard_standing()
        if any(not one.open for one in standings):
            self._late = None
            await self._rebuilder.rebuild()
        elif any(one.late for one in standings):
            if self._late is None:
                self._late = _Latecomers(self._bus, self._store, self._clock, standings)
            await self._late.look()
        else:
            self._late = None
            await self._note_horizon()

    async def _note_horizon(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._horizon_at_s < _HORIZON_S:
            return
        self._horizon_at_s = now_s
        feed = await self._bus.stream_info(streams.FEED)
        await self._store.advance_horizon(Horizon(feed.created_ms, feed.last_sequence))


class _Latecomers:
    """Events of before a rebuild that reached the log after it was read: added silently where they are news."""

    def __init__(self, bus: Bus, store: Store, clock: Clock, standings: list[Standing]) -> None:
        floor = min(one.floor for one in standings)
        self._log = Log(bus)
        self._since = min((one.horizon for one in standings if one.horizon), default=None)
        self._begun = False
        self._restore = Restore(
            store,
            clock,
            shards=[one.shard for one in standings],
            wanted=lambda event: event.aggregateversion <= floor,
        )

    async def look(self) -> None:
        """Raises Unavailable, BusError."""
        pages = self._log.rest() if self._begun else self._log.since(self._since)
        await self._restore.take(pages)
        self._begun = True
