"""What happens in a deployment, at random but repeatably; and the whole of the state as one comparable value."""

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio as redis

from quarterdeck.contracts.commands import CommandSpec, Retry
from quarterdeck.contracts.event_payloads import spec_document
from quarterdeck.contracts.ids import child_id, new_id, shard_for
from quarterdeck.contracts.states import LEGAL, TERMINAL, CommandState
from quarterdeck.core.bus import Bus, ensure_streams
from quarterdeck.core.clock import SystemClock
from quarterdeck.core.outbox import Relay
from quarterdeck.core.rebuild import Rebuilder, RebuildSettings
from quarterdeck.core.store import (
    Child,
    Idempotency,
    Move,
    NewBatch,
    NewCommand,
    Store,
    StoreSettings,
    Written,
)

S = CommandState
SPEC = CommandSpec(
    command_type="shell",
    payload=b'{"command":"echo \\"\xc3\xa4\\""}',
    env={"A": "b"},
    retry=Retry(max_attempts=2, backoff_ms=10),
)
NO_WAITING = RebuildSettings(settle_s=0.0, late_s=60.0)
_VOLATILE = ("run", "floor", "horizon", "latecomers", "lease", "incarnation", "outbox", "attention", "expiry")
_UNTOLD = {b"stdout_tail", b"stderr_tail", b"unproved", b"outbox"}


def now_ms() -> int:
    return int(time.time() * 1000)


class History:
    def __init__(self, bus: Bus, store: Store, client: redis.Redis) -> None:
        self.bus = bus
        self.store = store
        self.client = client
        self.relay = Relay(bus, store)
        self.rebuilder = Rebuilder(bus, store, SystemClock(), NO_WAITING)

    async def command(self, *, key: str | None = None, spec: CommandSpec = SPEC) -> str:
        shard = None if key is None else shard_for("t", "u", key)
        command_id, at_ms = new_id(shard), now_ms()
        told = {} if key is None else {"idempotency_key": key, "body_hash": "body"}
        written = await self.store.create_command(
            NewCommand(
                command_id=command_id,
                tenant="t",
                user_id="u",
                agent_id="a1",
                spec=spec,
                created_at_ms=at_ms,
                event_payload={"agent_id": "a1", "user_id": "u", "spec": spec_document(spec), **told},
                idempotency=None if key is None else Idempotency.of("t", "u", key, "body"),
            )
        )
        await self.tell(written)
        return written.existing_id or command_id

    async def batch(self, targets: int, *, request: bytes = b"{}", parts: int = 1) -> str:
        batch_id, at_ms = new_id(), now_ms()
        names = tuple(f"a{index}" for index in range(targets))
        size = -(-targets // parts)
        payloads: list[dict[str, Any]] = [
            {"offset": start, "targets": list(names[start : start + size])}
            for start in range(0, targets, size)
        ]
        payloads[0] |= {
            "user_id": "u",
            "total": targets,
            "spec": spec_document(SPEC),
            "execution_alias": "alias",
        }
        written = await self.store.create_batch(
            NewBatch(
                batch_id=batch_id,
                tenant="t",
                user_id="u",
                spec=SPEC,
                targets=names,
                created_at_ms=at_ms,
                original_request=request,
                execution_alias="alias",
                event_payloads=tuple(payloads),
            )
        )
        await self.tell(written)
        return batch_id

    async def expand(self, batch_id: str, indexes: range, to: CommandState = S.SENT) -> Written:
        batch = await self.store.batch("t", batch_id)
        assert batch is not None
        fields = {"sent_at_ms": now_ms(), "via": "grpc", "gateway_id": "gw", "epoch": "1.1"}
        children = [
            Child(child_id(batch_id, index), batch.targets[index], None, to, dict(fields))
            for index in indexes
        ]
        written = await self.store.expand(
            tenant="t",
            user_id="u",
            batch_id=batch_id,
            spec=batch.spec,
            created_at_ms=batch.created_at_ms,
            at_ms=now_ms(),
            children=children,
        )
        await self.tell(written)
        return written

    async def move(self, command_id: str, to: CommandState, attempt: int = 1, **fields: Any) -> Written:
        written = await self.store.apply([Move(command_id, attempt, to, now_ms(), fields)])
        await self.tell(written)
        return written

    async def tell(self, written: Written) -> None:
        await self.relay.publish(written.entries)
        await self.store.forget(written.entries)

    async def wander(self, command_id: str, choose: random.Random) -> None:
        """A random legal walk, some of it to an end, over one or two attempts."""
        for _ in range(choose.randrange(6)):
            view = await self.store.command("t", command_id)
            if view is None or view.state in TERMINAL:
                return
            to = choose.choice(sorted(LEGAL[view.state] - {S.SKIPPED, S.EXPIRED}))
            fields: dict[str, Any] = {}
            if to is S.SENT:
                fields = {"sent_at_ms": now_ms(), "via": "quic", "gateway_id": "gw", "epoch": "1.2"}
            elif to in TERMINAL:
                fields = {
                    "completed_at_ms": now_ms(),
                    "exit_code": choose.randrange(3),
                    "result": '{"a": [1,2.50],"ö":"\\u00e4"}',
                    "stdout_bytes": 5,
                    "stdout_sha256": "ab" * 32,
                    "stdout_verified": 1,
                    "stdout_tail": b"\xff",
                }
            await self.move(command_id, to, view.attempt, **fields)

    async def rebuild(self) -> None:
        done = await self.rebuilder.rebuild()
        assert done is not None

    async def state(self) -> dict[str, Any]:
        """All keys but those of the machinery; hashes without what no event tells."""
        state: dict[str, Any] = {}
        async for raw in self.client.scan_iter(match="qd:*", count=1000):
            name = raw.decode().partition("}:")[2]
            if name in _VOLATILE:
                continue
            kind = await self.client.type(raw)
            if kind == b"hash":
                fields = await self.client.hgetall(raw)
                state[raw.decode()] = {n: v for n, v in fields.items() if n not in _UNTOLD and v != b"0"}
            elif kind == b"zset":
                state[raw.decode()] = sorted(await self.client.zrange(raw, 0, -1))
            else:
                state[raw.decode()] = await self.client.get(raw)
        return state

    async def due(self) -> set[Any]:
        """Commands that somebody will look at, as bytes."""
        ids: set[Any] = set()
        async for raw in self.client.scan_iter(match="qd:*attention", count=1000):
            ids.update(await self.client.zrange(raw, 0, -1))
        return ids


@asynccontextmanager
async def history_on(nats_url: str, redis_url: str) -> AsyncIterator[History]:
    bus = await Bus.connect(nats_url, name="history")
    store = Store(StoreSettings(url=redis_url))
    client = redis.Redis.from_url(redis_url)
    await ensure_streams(bus, 1)
    try:
        history = History(bus, store, client)
        await history.rebuild()
        yield history
    finally:
        await client.aclose()
        await store.close()
        await bus.close()
