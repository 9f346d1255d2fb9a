"""An id on the command line is a run's or a single command's; users need not know which.

Owns the look-up. Called by `get`, `tail` and `cancel`.
"""

from collections.abc import AsyncIterator, Awaitable
from http import HTTPStatus
from typing import TypeVar

import msgspec

from quarterdeck.cli.client.api import Api
from quarterdeck.cli.client.feed import FeedEvent
from quarterdeck.cli.client.models import Batch, Command
from quarterdeck.cli.errors import ApiProblem, UsageError
from quarterdeck.contracts.errors import InvalidId
from quarterdeck.contracts.ids import check_uuid

T = TypeVar("T")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A run, or a command: exactly one of the two."""

    api: Api
    batch: Batch | None = None
    command: Command | None = None

    @property
    def commands(self) -> list[tuple[str, str]]:
        """(command_id, target) of each command in it."""
        if self.batch is not None:
            return [(task.child_command_id, task.vps_id) for task in self.batch.tasks]
        assert self.command is not None
        return [(self.command.command_id, self.command.client_id)]

    def watch(self, *, output: bool) -> AsyncIterator[FeedEvent]:
        if self.batch is not None:
            return self.api.watch_batch(self.batch.batch_command_id, output=output)
        assert self.command is not None
        return self.api.watch_command(self.command.command_id, output=output)

    async def terminate(self) -> None:
        """Asks for the end of it."""
        if self.batch is not None:
            await self.api.terminate_batch(self.batch.batch_command_id)
        elif self.command is not None:
            await self.api.terminate_command(self.command.command_id)


async def find(api: Api, run_id: str) -> Found:
    """Raises UsageError when `run_id` is no id, or nobody's; ApiProblem, ServerUnreachable."""
    try:
        run_id = check_uuid(run_id, "id")
    except InvalidId:
        raise UsageError(f"{run_id!r} is no id; `qd ls` shows the latest") from None
    batch = await _or_none(api.batch(run_id))
    if batch is not None:
        return Found(api=api, batch=batch)
    command = await _or_none(api.command(run_id))
    if command is not None:
        return Found(api=api, command=command)
    raise UsageError(f"nothing has the id {run_id}; `qd ls` shows the latest")


async def _or_none(answer: Awaitable[T]) -> T | None:
    try:
        return await answer
    except ApiProblem as problem:
        if problem.status == HTTPStatus.NOT_FOUND:
            return None
        raise
