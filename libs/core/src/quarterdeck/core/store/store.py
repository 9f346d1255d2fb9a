"""The store: one object for reading, writing and the outbox of every shard."""

import asyncio

import msgspec

from quarterdeck.contracts.ids import new_id
from quarterdeck.core.store import keys
from quarterdeck.core.store.attention import Attention
from quarterdeck.core.store.births import Births
from quarterdeck.core.store.connection import ScriptRunner
from quarterdeck.core.store.forgetting import Forgetting
from quarterdeck.core.store.reads import Reads
from quarterdeck.core.store.restoring import Horizon, Opening, Restoring
from quarterdeck.core.store.scripts import Lifetimes
from quarterdeck.core.store.sessions import Sessions
from quarterdeck.core.store.shapes import OutboxEntry
from quarterdeck.core.store.writes import Writes


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    """`redis://host:port/db` or `unix:///path`; Redis 6.2 or newer."""
    lifetimes: Lifetimes = Lifetimes()


class Store(Reads, Births, Writes, Attention, Sessions, Restoring):
    """Every method raises Unavailable while Redis is away or a shard has no incarnation."""

    def __init__(self, settings: StoreSettings) -> None:
        self.lifetimes = settings.lifetimes
        self._runner = ScriptRunner(settings.url, settings.lifetimes)
        self._forgetting = Forgetting(self._runner)

    async def initialise(self) -> None:
        """Opens every shut shard as it is, as for a deployment without a past: what tests and tools begin with.

        Services never call it: a shard that lost its state must not be mistaken for an empty one (core/rebuild).
        """
        run, token = await self.run_id(), new_id()
        shut = [standing.shard for standing in await self.shard_standing() if not standing.open]
        held = await self.lease(shut, f"{run}/{token}", ttl_ms=5_000)
        opening = Opening(run=run, floor=0, horizon=Horizon(0, 0))
        await asyncio.gather(*(self.open(shard, f"{run}/{token}", opening) for shard in held))

    @property
    def runner(self) -> ScriptRunner:
        """For what keeps more in the same Redis: answers.py, rate_windows.py."""
        return self._runner

    async def ping(self) -> None:
        """Raises Unavailable."""
        await self._runner.plain([("PING",)])

    async def left_over(self, shards: range, *, older_than_ms: int, limit: int = 500) -> list[OutboxEntry]:
        """Outbox entries older than `older_than_ms`, by Redis' clock. `limit`: per shard."""
        until = await self._runner.now_ms() - older_than_ms
        answers = await self._runner.plain(
            [("XRANGE", keys.key(shard, "outbox"), "-", str(until), "COUNT", limit) for shard in shards]
        )
        entries = []
        for shard, rows in zip(shards, answers, strict=True):
            for entry_id, flat in rows:
                f = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
                entries.append(
                    OutboxEntry(
                        shard,
                        entry_id.decode(),
                        f[b"k"].decode(),
                        f[b"s"].decode(),
                        f[b"i"].decode(),
                        f[b"b"],
                    )
                )
        return entries

    async def forget(self, entries: list[OutboxEntry]) -> None:
        """Removes entries that the bus has confirmed."""
        self._forgetting.add(entries)
        await self._forgetting.remove()

    def forget_soon(self, entries: list[OutboxEntry]) -> None:
        """As `forget`, for those who do not want to wait: within a tenth of a second, with others."""
        self._forgetting.add(entries)

    async def close(self) -> None:
        await self._forgetting.close()
        await self._runner.close()
