"""Writing: each method is one script per shard, atomic there, with the outbox entries it left behind as its answer."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

from quarterdeck.contracts import codec
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.errors import IdempotencyConflict
from quarterdeck.contracts.ids import shard_of
from quarterdeck.contracts.states import BatchState, CommandState
from quarterdeck.core.store import keys
from quarterdeck.core.store.connection import ScriptRunner
from quarterdeck.core.store.shapes import (
    Amendment,
    Child,
    Due,
    HandOver,
    LostOutput,
    Move,
    NewBatch,
    NewCommand,
    OutboxEntry,
    Outcome,
    RawEntry,
    Verdict,
    Written,
)

REQUEST_SLICE = 64 * 1024
"""Characters of a batch's original request in one event: with a specification beside it, still one message."""

RUN_SLACK_MS = 30_000
"""After its own timeout and grace an agent has this long to report before the outcome counts as unknown."""


def deliver_by(spec: CommandSpec, created_at_ms: int) -> int:
    """Until when (Unix ms) a command of `spec` must have started; agents start none later."""
    delivery_ms = spec.timeout_ms if spec.queue_for_ms is None else max(spec.timeout_ms, spec.queue_for_ms)
    return created_at_ms + delivery_ms + (0 if spec.runs_from_creation else RUN_SLACK_MS)


def spec_fields(spec: CommandSpec, created_at_ms: int) -> dict[str, Any]:
    """The scheduler's fields of a command: until when it must start, and how long its end may take after that.

    What was sent may start as late as `deliver_by_ms`, so its end is awaited for `overtime_ms` more. Once the start is
    known, it is `run_limit_ms` from there; 0 where the timeout runs from creation, and starting changes nothing.
    """
    deliver_by_ms = deliver_by(spec, created_at_ms)
    run_limit_ms = spec.timeout_ms + spec.grace_ms + RUN_SLACK_MS
    return {
        "command_type": spec.command_type,
        "created_at_ms": created_at_ms,
        "deliver_by_ms": deliver_by_ms,
        "deadline_at_ms": deliver_by_ms,
        "run_limit_ms": 0 if spec.runs_from_creation else run_limit_ms,
        "overtime_ms": spec.grace_ms + RUN_SLACK_MS if spec.runs_from_creation else run_limit_ms,
        "max_attempts": spec.retry.max_attempts,
        "backoff_ms": spec.retry.backoff_ms,
    }


def tell_request(payloads: Sequence[dict[str, Any]], original_request: bytes) -> list[dict[str, Any]]:
    """`payloads` of `batch.created`, each with its slice of the request's text; further ones where that is long."""
    text = original_request.decode()
    slices = [text[start : start + REQUEST_SLICE] for start in range(0, len(text), REQUEST_SLICE)]
    told = [
        {**payload, **({"original_request": piece} if piece else {})}
        for payload, piece in zip_longest(payloads, slices, fillvalue=None)
        for payload in [payload or {}]
    ]
    return [{**told[0], "parts": len(told)}, *told[1:]] if told else []


class Writes:
    _runner: ScriptRunner

    async def create_command(self, new: NewCommand) -> Written:
        """Takes a single command in. `existing_id` is set, and nothing written, when its idempotency key is known.

        Raises IdempotencyConflict when the key came with another body, Unavailable.
        """
        fields = {
            "tenant": new.tenant,
            "user_id": new.user_id,
            "agent_id": new.agent_id,
            "spec": codec.encode(new.spec),
            **spec_fields(new.spec, new.created_at_ms),
            **({"guest": new.guest} if new.guest else {}),
        }
        request = (
            new.command_id,
            new.tenant,
            new.agent_id,
            new.guest,
            new.created_at_ms,
            fields,
            new.event_payload,
            new.messages,
            new.idempotency,
            new.end,
        )
        return await self._create("create_command", new.command_id, request)

    async def create_batch(self, new: NewBatch) -> Written:
        """Takes a batch in; its children come into being with `expand`. Errors as for create_command."""
        fields = {
            "tenant": new.tenant,
            "user_id": new.user_id,
            "spec": codec.encode(new.spec),
            "targets": codec.encode(new.targets),
            "original_request": new.original_request,
            "created_at_ms": new.created_at_ms,
            **({"execution_alias": new.execution_alias} if new.execution_alias else {}),
        }
        request = (
            new.batch_id,
            new.tenant,
            new.created_at_ms,
            len(new.targets),
            fields,
            tell_request(new.event_payloads, new.original_request),
            new.messages,
            new.idempotency,
        )
        return await self._create("create_batch", new.batch_id, request)

    async def expand(
        self,
        *,
        tenant: str,
        user_id: str,
        batch_id: str,
        spec: CommandSpec,
        created_at_ms: int,
        at_ms: int,
        children: Sequence[Child],
    ) -> Written:
        """Creates the children that do not exist yet and moves them. Outcomes in the order of `children`."""
        shared = {
            "tenant": tenant,
            "user_id": user_id,
            "batch_id": batch_id,
            **spec_fields(spec, created_at_ms),
        }
        shard = shard_of(batch_id)
        return written(
            shard, await self._runner.run("expand", shard, (batch_id, tenant, at_ms, shared, children))
        )

    async def apply(self, moves: Sequence[Move], messages: Sequence[RawEntry] = ()) -> Written:
        """Moves commands of any shards: one script per shard, one round trip in all. Outcomes in the order of `moves`.

        `messages` enter the outbox with the moves if any of them applied; give them only with moves of one shard.
        """
        groups = _by_shard((move.command_id, index) for index, move in enumerate(moves))
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
        groups = _by_shard((change.command_id, index) for index, change in enumerate(changes))
        await self._runner.run_many(
            "amend", [(shard, [changes[index] for index in indexes]) for shard, indexes in groups.items()]
        )

    async def hand_over(self, steps: Sequence[HandOver]) -> list[Outcome]:
        """Notes hand-overs and returns of `sent` commands. Outcomes in the order of `steps`; BEHIND: it moved on."""
        groups = _by_shard((step.command_id, index) for index, step in enumerate(steps))
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
        groups = _by_shard((loss.command_id, index) for index, loss in enumerate(losses))
        calls = [(shard, [losses[index] for index in indexes]) for shard, indexes in groups.items()]
        answers = await self._runner.run_many("lose_output", calls)
        told = [written(shard, answer) for shard, answer in zip(groups, answers, strict=True)]
        return Written(
            outcomes=[outcome for part in told for outcome in part.outcomes],
            entries=[entry for part in told for entry in part.entries],
        )

    async def look_again(self, command_ids: Sequence[str], in_ms: int, *, now_ms: int) -> None:
        """Moves the next look at unfinished commands to `now_ms + in_ms`."""
        groups = _by_shard((command_id, index) for index, command_id in enumerate(command_ids))
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

    async def terminate_batch(self, tenant: str, batch_id: str, messages: Sequence[RawEntry]) -> Written:
        """Asks for the end of a batch. `batch_state` is None when the tenant has no such batch."""
        shard = shard_of(batch_id)
        answer = await self._runner.run("terminate_batch", shard, (batch_id, tenant, messages))
        state = BatchState(answer[2][0].decode()) if answer[2] else None
        return written(shard, answer, batch_state=state)

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
        groups = _by_shard((command_id, index) for index, command_id in enumerate(command_ids))
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

    async def await_ends(
        self, tenant: str, ids: Sequence[str], messages: Sequence[RawEntry]
    ) -> list[CommandState | BatchState | None]:
        """How commands and batches of the tenant stand, in the order of `ids`; None: there is no such thing (any more).

        When one that has not ended does, `messages` enter the outbox in the same act. Asking again is asking once.
        """
        groups = _by_shard((one, index) for index, one in enumerate(ids))
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

    async def _create(self, script: str, new_id: str, request: tuple[Any, ...]) -> Written:
        shard = shard_of(new_id)
        answer = await self._runner.run(script, shard, request)
        existing = answer[2][0].decode() if answer[2] else None
        if existing == "conflict":
            raise IdempotencyConflict(
                "Idempotency-Key: was used before with another body", field="Idempotency-Key"
            )
        return written(shard, answer, existing_id=existing)


def _state(text: str) -> CommandState | BatchState | None:
    """The two kinds of states differ in case."""
    if not text:
        return None
    return BatchState(text) if text.isupper() else CommandState(text)


def _by_shard(pairs: Iterable[tuple[str, int]]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = defaultdict(list)
    for command_id, index in pairs:
        groups[shard_of(command_id)].append(index)
    return groups


def written(
    shard: int, answer: list[Any], *, existing_id: str | None = None, batch_state: BatchState | None = None
) -> Written:
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
