"""What goes to scripts and comes back: calls grouped by shard, answers as Written. Used by all that run scripts."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from quarterdeck.contracts.ids import shard_of
from quarterdeck.contracts.states import BatchState, CommandState
from quarterdeck.core.store.shapes import OutboxEntry, Outcome, Verdict, Written


def by_shard(pairs: Iterable[tuple[str, int]]) -> dict[int, list[int]]:
    """(command id, index) pairs → the indexes of each shard."""
    groups: dict[int, list[int]] = defaultdict(list)
    for command_id, index in pairs:
        groups[shard_of(command_id)].append(index)
    return groups


def written(
    shard: int, answer: list[Any], *, existing_id: str | None = None, batch_state: BatchState | None = None
) -> Written:
    """`answer`: of a script, [outcome rows, outbox rows, …]."""
    return Written(
        outcomes=[_outcome(row) for row in answer[0]],
        entries=[
            OutboxEntry(shard, entry_id.decode(), kind.decode(), subject.decode(), msg_id.decode(), body)
            for entry_id, kind, subject, msg_id, body in answer[1]
        ],
        existing_id=existing_id,
        batch_state=batch_state,
    )


def _outcome(row: list[Any]) -> Outcome:
    verdict, command_id, state, attempt, version, agent_id, command_type, created_at_ms, batch_id = row
    return Outcome(
        verdict=Verdict(verdict),
        command_id=command_id.decode(),
        state=CommandState(state.decode()) if state else None,
        attempt=attempt,
        version=version,
        agent_id=agent_id.decode(),
        command_type=command_type.decode(),
        created_at_ms=created_at_ms,
        batch_id=batch_id.decode() if batch_id else None,
    )
