"""Reading: commands, batches, pages of both. Nothing here writes."""

from collections import defaultdict
from collections.abc import Sequence

from quarterdeck.contracts import codec
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.ids import child_id, shard_of
from quarterdeck.contracts.limits import CHUNK_TARGETS
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.store import keys
from quarterdeck.core.store.connection import ScriptRunner
from quarterdeck.core.store.views import (
    BATCH_FIELDS,
    COMMAND_FIELDS,
    BatchView,
    CommandView,
    Cursor,
    Page,
    batch_view,
    command_view,
)

_specs = codec.Decoder[CommandSpec](CommandSpec)


class Reads:
    _runner: ScriptRunner

    async def command(self, tenant: str, command_id: str) -> CommandView | None:
        """None when the tenant has no such command, or it is past its TTL. Raises Unavailable."""
        found = await self.commands(tenant, [command_id])
        return found[0] if found else None

    async def commands(self, tenant: str, command_ids: Sequence[str]) -> list[CommandView]:
        """Those of `command_ids` that exist for the tenant, in their order."""
        rows = await self._rows(command_ids)
        batch_ids = {row[COMMAND_FIELDS.index("batch_id")] for row in rows if row}
        specs = await self._batch_specs([batch_id.decode() for batch_id in batch_ids if batch_id])
        views = []
        for command_id, row in zip(command_ids, rows, strict=True):
            if row and row[0] == tenant.encode():
                batch_id = row[COMMAND_FIELDS.index("batch_id")]
                spec = specs.get(batch_id.decode()) if batch_id else None
                if spec is not None or not batch_id:  # a child is forgotten with its batch
                    views.append(command_view(command_id, row, spec))
        return views

    async def batch(self, tenant: str, batch_id: str) -> BatchView | None:
        """None when the tenant has no such batch, or it is past its TTL. Raises Unavailable."""
        found = await self.batches(tenant, [batch_id])
        return found[0] if found else None

    async def batches(self, tenant: str, batch_ids: Sequence[str]) -> list[BatchView]:
        if not batch_ids:
            return []
        commands: list[tuple[str, ...]] = []
        for batch_id in batch_ids:
            shard = shard_of(batch_id)
            commands.append(("HMGET", keys.key(shard, "batch", batch_id), *BATCH_FIELDS))
            commands.append(("HGETALL", keys.key(shard, "counts", batch_id)))
        answers = await self._runner.plain(commands)
        views = []
        for batch_id, row, flat in zip(batch_ids, answers[::2], answers[1::2], strict=True):
            if row[0] == tenant.encode():
                counts = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
                views.append(batch_view(batch_id, row, counts))
        return views

    async def children(
        self, batch: BatchView, *, offset: int = 0, limit: int | None = None
    ) -> list[CommandView]:
        """The children of a batch in the order of its targets. Those that no chunk created yet appear as pending."""
        stop = len(batch.targets) if limit is None else min(len(batch.targets), offset + limit)
        indexes = range(offset, stop)
        command_ids = [child_id(batch.batch_id, index) for index in indexes]
        rows = await self._rows(command_ids)
        return [
            command_view(command_id, row, batch.spec) if row else _unborn(batch, index, command_id)
            for index, command_id, row in zip(indexes, command_ids, rows, strict=True)
        ]

    async def in_flight(self) -> int:
        """Commands of all tenants that have not ended, children that no chunk created yet included. Raises Unavailable.

        Not of one moment: the shards are asked one after the other.
        """
        answers = await self._runner.plain(
            [
                command
                for shard in keys.all_shards()
                for command in (
                    ("ZCARD", keys.key(shard, "attention")),
                    ("HVALS", keys.key(shard, "unborn")),
                )
            ]
        )
        unborn = sum(int(count) for counts in answers[1::2] for count in counts)
        return int(sum(answers[::2])) + unborn

    async def list_commands(
        self,
        tenant: str,
        *,
        agent_id: str | None = None,
        states: Sequence[CommandState] = (),
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Newest first. Raises InvalidCursor when `cursor` is of another query."""
        query = Cursor.fingerprint("commands", tenant, agent_id or "", *sorted(states))
        return await self._page(("commands", tenant, agent_id or "", list(states)), query, limit, cursor)

    async def list_batches(self, tenant: str, *, limit: int = 100, cursor: str | None = None) -> Page:
        query = Cursor.fingerprint("batches", tenant)
        return await self._page(("batches", tenant, "", []), query, limit, cursor)

    async def _page(
        self, index: tuple[str, str, str, list[CommandState]], query: str, limit: int, cursor: str | None
    ) -> Page:
        after = Cursor.decode(cursor, query).after if cursor else ""
        request = (*index, after, limit)
        answers = await self._runner.run_many("list_ids", [(shard, request) for shard in keys.all_shards()])
        ids = sorted((id_.decode() for answer in answers for id_ in answer[2][1]), reverse=True)
        page = ids[:limit]
        more = Cursor(query, page[-1]).encode() if len(ids) > limit else None
        return Page(ids=page, total=sum(answer[2][0] for answer in answers), next_cursor=more)

    async def _rows(self, command_ids: Sequence[str]) -> list[list[bytes | None] | None]:
        groups: dict[int, list[int]] = defaultdict(list)
        for index, command_id in enumerate(command_ids):
            groups[shard_of(command_id)].append(index)
        pieces = [
            (shard, indexes[start : start + CHUNK_TARGETS])
            for shard, indexes in groups.items()
            for start in range(0, len(indexes), CHUNK_TARGETS)
        ]
        calls = [
            (shard, ([command_ids[index] for index in indexes], COMMAND_FIELDS)) for shard, indexes in pieces
        ]
        rows: list[list[bytes | None] | None] = [None] * len(command_ids)
        for (_, indexes), answer in zip(
            pieces, await self._runner.run_many("read_commands", calls), strict=True
        ):
            for index, row in zip(indexes, answer[2], strict=True):
                rows[index] = row
        return rows

    async def _batch_specs(self, batch_ids: Sequence[str]) -> dict[str, CommandSpec]:
        if not batch_ids:
            return {}
        answers = await self._runner.plain(
            [("HGET", keys.key(shard_of(batch_id), "batch", batch_id), "spec") for batch_id in batch_ids]
        )
        return {batch_id: _specs.decode(raw) for batch_id, raw in zip(batch_ids, answers, strict=True) if raw}


def _unborn(batch: BatchView, index: int, command_id: str) -> CommandView:
    agent_id, _, guest = batch.targets[index].partition("/")
    return CommandView(
        command_id=command_id,
        tenant=batch.tenant,
        user_id=batch.user_id,
        agent_id=agent_id,
        guest=guest or None,
        batch_id=batch.batch_id,
        spec=batch.spec,
        state=CommandState.PENDING,
        attempt=1,
        version=0,
        created_at_ms=batch.created_at_ms,
        updated_at_ms=batch.created_at_ms,
        deadline_at_ms=batch.created_at_ms + batch.spec.timeout_ms,
    )
