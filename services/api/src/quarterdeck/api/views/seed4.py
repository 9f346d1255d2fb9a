"""Seed 4's bodies: a batch with all its tasks (S4-2 … S4-4). Absent values are null and present, as in the seed."""

from collections.abc import Sequence
from typing import Final

import msgspec

from quarterdeck.api.views.times import maybe_rfc3339
from quarterdeck.contracts.events import rfc3339
from quarterdeck.contracts.states import BatchState
from quarterdeck.core.store import BatchView, CommandView
from quarterdeck.web.tasks import BatchFacts, BatchSummary, NameOf, Task, count_statuses, summary, task

ACCEPTED_MESSAGE: Final = "Batch command task accepted and is being processed."


class AcceptedBatch(msgspec.Struct, frozen=True, kw_only=True):
    batch_command_id: str
    status: str
    message: str = ACCEPTED_MESSAGE


class Batch(BatchFacts, frozen=True, kw_only=True):
    tasks: list[Task]


class ManyBatches(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    batch_commands: list[BatchSummary]
    next_cursor: str | None


class StoppingBatch(msgspec.Struct, frozen=True, kw_only=True):
    batch_command_id: str
    status: str
    message: str


class StoppingTask(msgspec.Struct, frozen=True, kw_only=True):
    batch_command_id: str
    child_command_id: str
    status: str
    message: str


def accepted(batch_id: str, state: BatchState) -> bytes:
    return msgspec.json.encode(AcceptedBatch(batch_command_id=batch_id, status=state))


def batch(view: BatchView, children: Sequence[CommandView], name_of: NameOf) -> bytes:
    return msgspec.json.encode(
        Batch(
            batch_command_id=view.batch_id,
            overall_status=view.state,
            execution_alias=view.execution_alias,
            total=len(view.targets),
            counts=count_statuses(view.counts),
            created_at=rfc3339(view.created_at_ms),
            updated_at=rfc3339(view.updated_at_ms),
            completed_at=maybe_rfc3339(view.completed_at_ms),
            tasks=[task(child, name_of) for child in children],
        )
    )


def many_batches(views: Sequence[BatchView], *, total: int, next_cursor: str | None) -> bytes:
    return msgspec.json.encode(
        ManyBatches(total=total, batch_commands=[summary(view) for view in views], next_cursor=next_cursor)
    )
