"""A store on a real Redis for state machines, which are synchronous: its own event loop, and a second pair of eyes.

Everything is read with a client of its own, key by key, so that nothing is believed because the store's own reading
says so.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import redis

from quarterdeck.contracts.events import EventRecord
from quarterdeck.contracts.ids import shard_of
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.store import Store, StoreSettings, keys

T = TypeVar("T")

SHARDS: Final = range(3, 5)
"""Two, so that acts over several shards occur, and so that reading all of them stays cheap."""
TENANT: Final = "t"


class StoredCommand(NamedTuple):
    state: str
    attempt: int
    version: int
    filed_under: frozenset[str]
    """The state indexes that name it."""
    attended: bool
    """A sweep will look at it, at its deadline at the latest."""
    waits: bool
    """It is found when its agent comes."""
    expires: bool


class StoredBatch(NamedTuple):
    state: str
    version: int
    counts: dict[CommandState, int]
    expires: bool


class Bench:
    def __init__(self, redis_url: str) -> None:
        self._url = redis_url
        self._loop = asyncio.new_event_loop()
        self._eyes = redis.Redis.from_url(redis_url, decode_responses=False)
        self.store = self.new_store()

    def new_store(self) -> Store:
        return Store(StoreSettings(url=self._url))

    def do(self, act: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(act)

    def clear(self) -> None:
        """An empty Redis, ready to work."""
        self._eyes.flushall()
        self.do(self.store.initialise())

    def close(self) -> None:
        self.do(self.store.close())
        self._eyes.close()
        self._loop.close()

    def command(self, command_id: str, agent_id: str) -> StoredCommand:
        shard = shard_of(command_id)
        hash_key = keys.key(shard, "command", command_id)
        pipe = self._eyes.pipeline(transaction=False)
        pipe.hmget(hash_key, "state", "attempt", "version")
        pipe.zscore(keys.key(shard, "attention"), command_id)
        pipe.zscore(keys.key(shard, "waiting"), f"{TENANT}/{agent_id}/{command_id}")
        pipe.ttl(hash_key)
        for state in CommandState:
            pipe.zscore(keys.key(shard, "index_state", TENANT, state), command_id)
        (state, attempt, version), attended, waits, ttl_s, *filed = pipe.execute()
        return StoredCommand(
            state=state.decode(),
            attempt=int(attempt),
            version=int(version),
            filed_under=frozenset(
                str(name) for name, score in zip(CommandState, filed, strict=True) if score is not None
            ),
            attended=attended is not None,
            waits=waits is not None,
            expires=ttl_s > 0,
        )

    def batch(self, batch_id: str) -> StoredBatch:
        shard = shard_of(batch_id)
        pipe = self._eyes.pipeline(transaction=False)
        pipe.hmget(keys.key(shard, "batch", batch_id), "state", "version")
        pipe.hgetall(keys.key(shard, "counts", batch_id))
        pipe.ttl(keys.key(shard, "batch", batch_id))
        (state, version), counts, ttl_s = pipe.execute()
        return StoredBatch(
            state=state.decode(),
            version=int(version),
            counts={CommandState(name.decode()): int(n) for name, n in counts.items() if int(n)},
            expires=ttl_s > 0,
        )

    def outbox(self, shards: Iterable[int] = SHARDS) -> list[EventRecord]:
        """The events that wait in the outbox, oldest first within a shard."""
        pipe = self._eyes.pipeline(transaction=False)
        for shard in shards:
            pipe.xrange(keys.key(shard, "outbox"))
        return [
            msgspec.msgpack.decode(fields[b"b"], type=EventRecord)
            for rows in pipe.execute()
            for _, fields in rows
            if fields[b"k"] == b"e"
        ]
