"""What happens to commands and batches: one script per shard, atomic there, with its outbox entries as the answer."""

from collections.abc import Sequence

from quarterdeck.contracts.ids import shard_of
from quarterdeck.contracts.states import BatchState, CommandState
from quarterdeck.core.store.connection import ScriptRunner
from quarterdeck.core.store.script_answers import by_shard, written
from quarterdeck.core.store.shapes import (
    Amendment,
    HandOver,
    LostOutput,
    Move,
    OutboxEntry,
    Outcome,
    RawEntry,
    Written,
)


class Writes:
    _runner: ScriptRunner

    async def apply(self, moves: Sequence[Move], messages: Sequence[RawEntry] = ()) -> Written:
        """Moves commands of any shards: one script per shard, one round trip in all. Outcomes in the order of `moves`.

        `messages` enter the outbox with the moves if any of them applied; give them only with moves of one shard.
        """
        groups = by_shard((move.command_id, index) for index, move in enumerate(moves))
        calls = [
            (shard, ([moves[index] for index in indexes], messages)) for shard, indexes in groups.items()
        ]
        outcomes: list[Outcome | None] = [None] * len(moves)
        entries: list[OutboxEntry] = []
        answers = await self._runner.run_many("apply", calls)
        for (shard, indexes), answer in zip(groups.items(), answers, strict=True):
            part = written(shard, answer)
            entries += part.entries
            for index, outcome in zip(indexes, part.outcomes, strict=True):
                outcomes[index] = outcome
        return Written(outcomes=[outcome for outcome in outcomes if outcome], entries=entries)

    async def amend(self, changes: Sequence[Amendment]) -> None:
        """Sets fields of unfinished commands without a transition."""
        groups = by_shard((change.command_id, index) for index, change in enumerate(changes))
        await self._runner.run_many(
            "amend", [(shard, [changes[index] for index in indexes]) for shard, indexes in groups.items()]
        )

    async def hand_over(self, steps: Sequence[HandOver]) -> list[Outcome]:
        """Notes hand-overs and returns of `sent` commands. Outcomes in the order of `steps`; BEHIND: it moved on."""
        groups = by_shard((step.command_id, index) for index, step in enumerate(steps))
        calls = [(shard, [steps[index] for index in indexes]) for shard, indexes in groups.items()]
        outcomes: list[Outcome | None] = [None] * len(steps)
        for (shard, indexes), answer in zip(
            groups.items(), await self._runner.run_many("hand_over", calls), strict=True
        ):
            for index, outcome in zip(indexes, written(shard, answer).outcomes, strict=True):
                outcomes[index] = outcome
        return [outcome for outcome in outcomes if outcome]

    async def lose_output(self, losses: Sequence[LostOutput]) -> Written:
        """Tells of output that is gone, once per stream; later findings of the same stream are BEHIND."""
        groups = by_shard((loss.command_id, index) for index, loss in enumerate(losses))
        calls = [(shard, [losses[index] for index in indexes]) for shard, indexes in groups.items()]
        answers = await self._runner.run_many("lose_output", calls)
        told = [written(shard, answer) for shard, answer in zip(groups, answers, strict=True)]
        return Written(
            outcomes=[outcome for part in told for outcome in part.outcomes],
            entries=[entry for part in told for entry in part.entries],
        )

    async def terminate_batch(self, tenant: str, batch_id: str, messages: Sequence[RawEntry]) -> Written:
        """Asks for the end of a batch. `batch_state` is None when the tenant has no such batch."""
        shard = shard_of(batch_id)
        answer = await self._runner.run("terminate_batch", shard, (batch_id, tenant, messages))
        state = BatchState(answer[2][0].decode()) if answer[2] else None
        return written(shard, answer, batch_state=state)

    async def await_ends(
        self, tenant: str, ids: Sequence[str], messages: Sequence[RawEntry]
    ) -> list[CommandState | BatchState | None]:
        """How commands and batches of the tenant stand, in the order of `ids`; None: there is no such thing (any more).

        When one that has not ended does, `messages` enter the outbox in the same act. Asking again is asking once.
        """
        groups = by_shard((one, index) for index, one in enumerate(ids))
        calls = [
            (shard, (tenant, [ids[index] for index in indexes], messages))
            for shard, indexes in groups.items()
        ]
        states: list[CommandState | BatchState | None] = [None] * len(ids)
        answers = await self._runner.run_many("await_ends", calls)
        for indexes, answer in zip(groups.values(), answers, strict=True):
            for index, raw in zip(indexes, answer[2], strict=True):
                states[index] = _state(raw.decode())
        return states


def _state(text: str) -> CommandState | BatchState | None:
    """The two kinds of states differ in case."""
    if not text:
        return None
    return BatchState(text) if text.isupper() else CommandState(text)
