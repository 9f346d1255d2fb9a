"""Writing what was lost: the store's side of a rebuild. Nothing here tells events, and only core/rebuild calls it.

A shard is open (it has an incarnation, and services work with it) or shut. Shut shards are written under a lease, which
lives beside the state so that it is lost with it: a rebuild whose work was flushed away is refused its next write.

    shard_standing   who is shut, and how far each is known to follow the log
    lease            alone on some shards, for a while
    wipe             what is there follows no log that we know: away with it
    restore_…        bring commands, batches and sessions to where the log has them
    open             services may work with it again
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from quarterdeck.contracts.ids import shard_of
from quarterdeck.core.store import keys
from quarterdeck.core.store.connection import ScriptRunner
from quarterdeck.core.store.script_answers import written
from quarterdeck.core.store.shapes import OutboxEntry, RawEntry

_SCAN_COUNT: Final = 2_000
_KEPT_BY_WIPE: Final = ("lease",)
_MOST_PER_SCRIPT: Final = 500


T = TypeVar("T")


class Horizon(msgspec.Struct, frozen=True, order=True):
    """Every event of QD_FEED up to `sequence` is in the shard. `feed_created_ms` names the life of the stream."""

    feed_created_ms: int
    sequence: int

    @property
    def text(self) -> str:
        return f"{self.feed_created_ms}:{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> "Horizon":
        created, _, sequence = text.partition(":")
        return cls(int(created), int(sequence))


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One shard."""

    shard: int
    open: bool
    horizon: Horizon | None
    """None: what the shard holds, if anything, follows no known part of the log."""
    floor: int
    late: bool
    """Open, but events of before its rebuild may still arrive."""


Birth = dict[str, Any]
"""Hash fields that creation writes."""

Remembered = tuple[str, str, int]
"""An idempotency key: scope, body hash, until when (Unix ms)."""


class CommandStory(msgspec.Struct, array_like=True):
    """Where the log has one command, as far as it was read."""

    command_id: str
    tenant: str
    batch_id: str | None
    agent_id: str
    guest: str | None
    version: int
    attempt: int
    state: str | None
    fields: dict[str, Any]
    birth: Birth | None = None
    idempotency: Remembered | None = None


class BatchBirth(msgspec.Struct, array_like=True):
    batch_id: str
    tenant: str
    total: int
    fields: dict[str, Any]
    idempotency: Remembered | None = None


class BatchStory(msgspec.Struct, array_like=True):
    batch_id: str
    version: int
    state: str
    at_ms: int
    stop: bool


class SessionStory(msgspec.Struct, array_like=True):
    """What the log tells of one session, as far as it was read. Every event of a session tells its birth, too."""

    session_id: str
    tenant: str
    owner: str
    created_at_ms: int
    version: int
    at_ms: int
    """Of the last event."""
    rounds: list[tuple[int, str]]
    """(number, command id)"""


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What a shard is opened with."""

    run: str
    floor: int
    """No event of before has a higher version."""
    horizon: Horizon
    unended: Sequence[str] = ()
    """Batches of the shard that had not ended in the log."""
    messages: Sequence[RawEntry] = ()
    late_ms: int = 0
    """For how long events of before may still arrive."""


class Restoring:
    _runner: ScriptRunner

    async def run_id(self) -> str:
        """See new_server.py. Raises Unavailable."""
        return await self._runner.run_id()

    async def shut_if_moved(self) -> None:
        """As at every new connection, for those that outlive a failover. Raises Unavailable."""
        run = await self._runner.run_id()
        await self._runner.run_words("shut_if_moved", [(shard, (run,)) for shard in keys.all_shards()])

    async def shut_shards(self) -> int:
        """How many shards nobody works with. Raises Unavailable."""
        answers = await self._runner.plain(
            [("EXISTS", keys.key(shard, "incarnation")) for shard in keys.all_shards()]
        )
        return answers.count(0)

    async def shard_standing(self) -> list[Standing]:
        """All shards. Raises Unavailable."""
        names = ("incarnation", "horizon", "floor", "latecomers")
        answers = await self._runner.plain(
            [("MGET", *(keys.key(shard, name) for name in names)) for shard in keys.all_shards()]
        )
        return [
            Standing(
                shard=shard,
                open=incarnation is not None,
                horizon=Horizon.parse(horizon.decode()) if horizon else None,
                floor=int(floor or 0),
                late=latecomers is not None,
            )
            for shard, (incarnation, horizon, floor, latecomers) in zip(
                keys.all_shards(), answers, strict=True
            )
        ]

    async def lease(
        self, shards: Sequence[int], token: str, *, ttl_ms: int, shut_open_ones: bool = False
    ) -> list[int]:
        """Takes the lease of those of `shards` that are shut and free; answers which. Raises Unavailable."""
        words = (token, ttl_ms, "force" if shut_open_ones else "")
        answers = await self._runner.run_words("lease_shard", [(shard, words) for shard in shards])
        return [shard for shard, held in zip(shards, answers, strict=True) if held]

    async def renew_lease(self, shards: Sequence[int], token: str, *, ttl_ms: int) -> None:
        """Of those that the caller still holds; what was lost stays lost. Raises Unavailable."""
        await self._runner.run_words("lease_shard", [(shard, (token, ttl_ms, "renew")) for shard in shards])

    async def advance_horizon(self, horizon: Horizon) -> None:
        """The caller knew of `horizon` before it called: what was told until then had been written before."""
        await self._runner.run_words(
            "advance_horizon", [(shard, (horizon.text,)) for shard in keys.all_shards()]
        )

    async def wipe(self, shards: Iterable[int]) -> int:
        """Drops everything of `shards` but their leases; answers how many keys. Raises Unavailable."""
        wanted = {keys.prefix(shard) for shard in shards}
        kept = {f"{prefix}{name}".encode() for prefix in wanted for name in _KEPT_BY_WIPE}
        dropped = 0
        async for found in self._scan(keys.EVERY_KEY):
            doomed = [key for key in found if key[: keys.PREFIX_WIDTH].decode() in wanted and key not in kept]
            await self._runner.plain([("UNLINK", key) for key in doomed])
            dropped += len(doomed)
        return dropped

    async def restore_commands(self, token: str, stories: Sequence[CommandStory]) -> set[str]:
        """Answers the ids that are unknown and whose birth was not told. `token`: the lease; empty for open shards.

        Raises Unavailable, also when the lease is gone.
        """
        calls = [
            (shard, (token, part))
            for shard, group in _by_shard(stories, lambda story: story.command_id).items()
            for part in _parts(group)
        ]
        answers = await self._runner.run_many("restore_commands", calls)
        return {command_id.decode() for answer in answers for command_id in answer[2]}

    async def restore_batches(
        self, token: str, births: Sequence[BatchBirth], stories: Sequence[BatchStory]
    ) -> set[str]:
        """As restore_commands; `births` come first."""
        born = _by_shard(births, lambda birth: birth.batch_id)
        moved = _by_shard(stories, lambda story: story.batch_id)
        calls: list[tuple[int, Any]] = [
            (shard, (token, [birth], [])) for shard, group in born.items() for birth in group
        ]
        calls += [(shard, (token, [], part)) for shard, group in moved.items() for part in _parts(group)]
        answers = await self._runner.run_many("restore_batches", calls)
        return {batch_id.decode() for answer in answers for batch_id in answer[2]}

    async def restore_sessions(self, token: str, stories: Sequence[SessionStory]) -> None:
        """To come after the commands of the same events. Raises as restore_commands."""
        groups = _by_shard(stories, lambda story: story.session_id)
        calls = [(shard, (token, part)) for shard, group in groups.items() for part in _parts(group)]
        await self._runner.run_many("restore_sessions", calls)

    async def absent_commands(self, command_ids: Sequence[str]) -> set[str]:
        """Those of `command_ids` that do not exist, in shut shards too. Raises Unavailable."""
        answers = await self._runner.plain(
            [("EXISTS", keys.key(shard_of(one), "command", one)) for one in command_ids]
        )
        return {one for one, exists in zip(command_ids, answers, strict=True) if not exists}

    async def batch_parts(self, batch_ids: Sequence[str]) -> Mapping[str, Mapping[str, bytes]]:
        """The hashes of those that exist, in shut shards too. Raises Unavailable."""
        answers = await self._runner.plain(
            [("HGETALL", keys.key(shard_of(one), "batch", one)) for one in batch_ids]
        )
        return {
            one: {name.decode(): value for name, value in fields.items()}
            for one, fields in zip(batch_ids, answers, strict=True)
            if fields
        }

    async def unended_batches(self, shards: Iterable[int]) -> list[str]:
        """Batches of `shards` that have not ended, in shut shards too. Raises Unavailable."""
        wanted = {keys.prefix(shard) for shard in shards}
        unended: list[str] = []
        async for found in self._scan(keys.EVERY_BATCH_INDEX):
            indexes = [key for key in found if key[: keys.PREFIX_WIDTH].decode() in wanted]
            for members in await self._runner.plain([("ZRANGE", key, 0, -1) for key in indexes]):
                for part in _parts([member.decode() for member in members]):
                    unended += await self._not_ended(part)
        return unended

    async def _not_ended(self, batch_ids: Sequence[str]) -> list[str]:
        answers = await self._runner.plain(
            [
                ("HMGET", keys.key(shard_of(one), "batch", one), "state", "completed_at_ms")
                for one in batch_ids
            ]
        )
        return [one for one, (state, ended) in zip(batch_ids, answers, strict=True) if state and not ended]

    async def _scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """All keys like `pattern`, a page at a time; a key may come twice."""
        cursor: Any = 0
        while True:
            cursor, found = (
                await self._runner.plain([("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT)])
            )[0]
            if found:
                yield found
            if int(cursor) == 0:
                return

    async def open(self, shard: int, token: str, opening: Opening) -> list[OutboxEntry]:
        """Services may work with the shard again. Answers what is now to be published. Raises Unavailable."""
        request = (
            token,
            opening.run,
            opening.floor,
            opening.horizon.text,
            list(opening.unended),
            list(opening.messages),
            opening.late_ms,
        )
        return written(shard, await self._runner.run("open_shard", shard, request)).entries


def _by_shard(items: Iterable[T], id_of: Callable[[T], str]) -> dict[int, list[T]]:
    groups: dict[int, list[T]] = defaultdict(list)
    for item in items:
        groups[shard_of(id_of(item))].append(item)
    return groups


def _parts(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[start : start + _MOST_PER_SCRIPT] for start in range(0, len(items), _MOST_PER_SCRIPT)]
