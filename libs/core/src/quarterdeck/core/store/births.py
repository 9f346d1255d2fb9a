"""Commands and batches come into being: one script each, atomic in its shard, with the outbox entries as its answer."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from quarterdeck.contracts import codec
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.errors import IdempotencyConflict
from quarterdeck.contracts.ids import shard_of
from quarterdeck.core.store import keys
from quarterdeck.core.store.connection import ScriptRunner
from quarterdeck.core.store.script_answers import written
from quarterdeck.core.store.shapes import Child, Idempotency, NewBatch, NewCommand, Written

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


class Births:
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

    async def is_claimed(self, idempotency: Idempotency, subject_id: str) -> bool:
        """Whether its key stands for something, with this body or another. `subject_id`: an id of the key's shard.

        Raises Unavailable.
        """
        key = keys.key(shard_of(subject_id), "idempotency", idempotency.scope)
        return bool((await self._runner.plain([("EXISTS", key)]))[0])

    async def _create(self, script: str, new_id: str, request: tuple[Any, ...]) -> Written:
        shard = shard_of(new_id)
        answer = await self._runner.run(script, shard, request)
        existing = answer[2][0].decode() if answer[2] else None
        if existing == "conflict":
            raise IdempotencyConflict(
                "Idempotency-Key: was used before with another body", field="Idempotency-Key"
            )
        return written(shard, answer, existing_id=existing)
