"""One rebuild: shut shards are leased, brought to where the log has them, and opened. Idempotent, may die anywhere.

The reasoning about races is in the package's docstring. Called by StateKeeper and by `quarterdeck rebuild`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import structlog

from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.commands import Lane
from quarterdeck.contracts.errors import NotConfirmed, Unavailable
from quarterdeck.contracts.ids import new_id, shard_of
from quarterdeck.contracts.orders import TerminateRequest
from quarterdeck.core import failpoints
from quarterdeck.core.bus import Bus
from quarterdeck.core.clock import Clock
from quarterdeck.core.outbox import Relay
from quarterdeck.core.rebuild.children import create_missing
from quarterdeck.core.rebuild.log import Log
from quarterdeck.core.rebuild.restore import Restore, Restored
from quarterdeck.core.store import RawEntry, Store
from quarterdeck.core.store.keys import all_shards
from quarterdeck.core.store.restoring import Opening, Standing

log = structlog.get_logger()

_LEASE_MS: Final = 10_000
_RENEW_S: Final = 2.0
_VERSION_STEP: Final = 1 << 20
"""Floors are multiples of it: more than one aggregate's versions grow between two rebuilds."""

OnProgress = Callable[[Restored], None]


class RebuildSettings(msgspec.Struct, frozen=True, kw_only=True):
    settle_s: float = 1.0
    """How long writers of before may take to get their events into the log. Not waited where there is no log."""
    late_s: float = 120.0
    """For how long after a rebuild events of before are looked for."""


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What one rebuild did."""

    shards: int
    from_the_beginning: int
    """Those of them that held nothing of use."""
    restored: Restored
    children: int
    """Of batches, that no event mentions."""
    took_s: float


class Rebuilder:
    def __init__(self, bus: Bus, store: Store, clock: Clock, settings: RebuildSettings | None = None) -> None:
        self._bus = bus
        self._store = store
        self._clock = clock
        self._relay = Relay(bus, store)
        self._settings = settings or RebuildSettings()

    async def rebuild(self, *, force: bool = False, on_progress: OnProgress | None = None) -> Rebuilt | None:
        """Rebuilds what is shut, with `force` everything; None when nothing is, or when somebody else is at it.

        Raises Unavailable, StreamNotFound, StreamReplaced; then the shards stay shut and it may be called again.
        """
        if force:  # what is whole is not dropped for a log that cannot be read
            await Log(self._bus).check()
        standings = [one for one in await self._store.shard_standing() if force or not one.open]
        run = await self._store.run_id()
        token = f"{run}/{new_id()}"
        shards = [one.shard for one in standings]
        held = set(await self._store.lease(shards, token, ttl_ms=_LEASE_MS, shut_open_ones=force))
        if not held:
            return None
        async with self._renewing(sorted(held), token):
            if force:  # their horizons went with the lease
                standings = await self._store.shard_standing()
            mine = [one for one in standings if one.shard in held]
            return await self._rebuild(mine, run, token, on_progress)

    async def _rebuild(
        self, standings: Sequence[Standing], run: str, token: str, on_progress: OnProgress | None
    ) -> Rebuilt:
        started_ms = self._clock.now_ms()
        shards = [one.shard for one in standings]
        empty = [one.shard for one in standings if one.horizon is None]
        log.info("rebuild.started", shards=len(shards), from_the_beginning=len(empty))
        while await self._relay.sweep(all_shards(), older_than_ms=0):
            pass  # what an outbox still holds has to be in the log before the log is read
        await self._store.wipe(empty)
        since = None if empty else min(one.horizon for one in standings if one.horizon is not None)
        events = Log(self._bus)
        restore = Restore(self._store, self._clock, shards=shards, token=token)
        await restore.take(events.since(since), on_progress)
        if restore.restored.events or since is not None:
            await asyncio.sleep(self._settings.settle_s)
            await restore.take(events.rest(), on_progress)
        await restore.finish()
        unended = await self._store.unended_batches(shards)
        children = await create_missing(self._store, token, unended)
        failpoints.reach("rebuild.before_incarnation")
        highest = max(restore.highest_version, *(one.floor for one in standings))
        floor = (highest // _VERSION_STEP + 1) * _VERSION_STEP if highest else 0
        opening = Opening(
            run=run,
            floor=floor,
            horizon=events.horizon,
            late_ms=round(self._settings.late_s * 1000) if floor else 0,
        )
        await self._open(shards, token, opening, unended)
        rebuilt = Rebuilt(
            shards=len(shards),
            from_the_beginning=len(empty),
            restored=restore.restored,
            children=children,
            took_s=(self._clock.now_ms() - started_ms) / 1000,
        )
        log.info("rebuild.completed", **msgspec.to_builtins(rebuilt))
        return rebuilt

    async def _open(
        self, shards: Sequence[int], token: str, opening: Opening, unended: Sequence[str]
    ) -> None:
        stops = await self._stops(unended)
        entries = []
        for shard in shards:
            own = [one for one in unended if shard_of(one) == shard]
            again = [stops[one] for one in own if one in stops]
            full = msgspec.structs.replace(opening, unended=own, messages=again)
            entries += await self._store.open(shard, token, full)
        try:
            await self._relay.publish(entries, subject_id="rebuild")
        except NotConfirmed as error:
            log.info("rebuild.left_to_sweep", reason=error.message)

    async def _stops(self, batch_ids: Sequence[str]) -> dict[str, RawEntry]:
        """For batches that were being stopped: the order to stop what is left of them, once more."""
        stops = {}
        for batch_id, parts in (await self._store.batch_parts(batch_ids)).items():
            if parts["terminate_requested"] == b"1":
                tenant = parts["tenant"].decode()
                stops[batch_id] = RawEntry(
                    subjects.command(tenant, Lane.URGENT),
                    f"{batch_id}-terminate-{new_id()}",  # not the first order, which the bus may remember
                    codec.encode(TerminateRequest(tenant=tenant, batch_id=batch_id)),
                )
        return stops

    @asynccontextmanager
    async def _renewing(self, shards: Sequence[int], token: str) -> AsyncIterator[None]:
        """Renews the lease while the body runs. That it is lost is noticed by the next write."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(_RENEW_S)
                try:
                    await self._store.renew_lease(shards, token, ttl_ms=_LEASE_MS)
                except Unavailable as error:
                    log.info("rebuild.lease_not_renewed", reason=error.message)

        renewing = asyncio.create_task(renew(), name="rebuild-lease")
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
