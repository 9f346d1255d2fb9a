"""Commands that want a look: past a deadline, an order or stop perhaps lost, an agent back; and stale indexes."""

from collections.abc import Sequence
from typing import Any

from quarterdeck.contracts.states import CommandState
from quarterdeck.core.store import keys
from quarterdeck.core.store.connection import ScriptRunner
from quarterdeck.core.store.script_answers import by_shard, written
from quarterdeck.core.store.shapes import Due, OutboxEntry, Outcome, Written


class Attention:
    _runner: ScriptRunner

    async def take_due(
        self, shards: Sequence[int], *, limit: int = 500, lease_ms: int = 5_000, hold: bool = False
    ) -> tuple[list[Due], Written]:
        """Ends what is past its deadline; leases to the caller what wants a look. `limit`: per shard.

        `hold`: what is overdue and may have run is leased as well; the caller ends it with `give_up`.
        """
        with_due = await self._with_due(shards)
        answers = await self._runner.run_many(
            "take_due", [(shard, (limit, lease_ms, hold)) for shard in with_due]
        )
        return _due(with_due, answers)

    async def give_up(self, command_ids: Sequence[str]) -> Written:
        """Ends those of `command_ids` that are past their deadline, as far as their state proves an end."""
        groups = by_shard((command_id, index) for index, command_id in enumerate(command_ids))
        calls = [(shard, [command_ids[index] for index in indexes]) for shard, indexes in groups.items()]
        answers = await self._runner.run_many("give_up", calls)
        ended = [written(shard, answer) for shard, answer in zip(groups, answers, strict=True)]
        return Written(
            outcomes=[outcome for part in ended for outcome in part.outcomes],
            entries=[entry for part in ended for entry in part.entries],
        )

    async def take_waiting(self, agents: Sequence[tuple[str, str]]) -> list[Due]:
        """Commands of all shards that wait for one of `agents`, (tenant, agent_id) pairs."""
        shards = keys.all_shards()
        due, _ = _due(
            shards, await self._runner.run_many("take_waiting", [(shard, agents) for shard in shards])
        )
        return due

    async def look_again(self, command_ids: Sequence[str], in_ms: int, *, now_ms: int) -> None:
        """Moves the next look at unfinished commands to `now_ms + in_ms`."""
        groups = by_shard((command_id, index) for index, command_id in enumerate(command_ids))
        await self._runner.plain(
            [
                (
                    "ZADD",
                    keys.key(shard, "attention"),
                    "XX",
                    *(piece for index in indexes for piece in (now_ms + in_ms, command_ids[index])),
                )
                for shard, indexes in groups.items()
            ]
        )

    async def sweep_indexes(self, *, limit: int = 1_000) -> int:
        """Drops index members of what has expired; answers how many. `limit`: per shard."""
        answers = await self._runner.run_many(
            "sweep_indexes", [(shard, (limit,)) for shard in keys.all_shards()]
        )
        return sum(answer[2][0] for answer in answers)

    async def _with_due(self, shards: Sequence[int]) -> list[int]:
        """Those of `shards` where anything is due: most have nothing, and asking costs a tenth of the script."""
        now_ms = await self._runner.now_ms()
        counts = await self._runner.plain(
            [("ZCOUNT", keys.key(shard, "attention"), "-inf", now_ms) for shard in shards]
        )
        return [shard for shard, count in zip(shards, counts, strict=True) if count]


def _due(shards: Sequence[int], answers: Sequence[list[Any]]) -> tuple[list[Due], Written]:
    due: list[Due] = []
    outcomes: list[Outcome] = []
    entries: list[OutboxEntry] = []
    for shard, answer in zip(shards, answers, strict=True):
        part = written(shard, answer)
        outcomes += part.outcomes
        entries += part.entries
        due += [
            Due(
                command_id=row[0].decode(),
                tenant=row[1].decode(),
                batch_id=row[2].decode() if row[2] else None,
                user_id=row[3].decode(),
                agent_id=row[4].decode(),
                guest=row[5].decode() if row[5] else None,
                state=CommandState(row[6].decode()),
                attempt=row[7],
                created_at_ms=row[8],
                deadline_at_ms=row[9],
                returned=row[10] == 1,
                deliver_by_ms=row[11],
                overdue=row[12] == 1,
                session_id=row[13].decode() if row[13] else None,
            )
            for row in answer[2]
        ]
    return due, Written(outcomes=outcomes, entries=entries)
