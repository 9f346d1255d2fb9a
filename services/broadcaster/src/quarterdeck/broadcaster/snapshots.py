"""How a scope stands now, for watchers who begin or start over. Reads the store; writes nothing.

Members are named as in the events, and carry the entity's version: an event with a lower one is older than this.
"""

from collections.abc import Sequence

import msgspec

from quarterdeck.broadcaster.handlers.scopes import Kind, Scope
from quarterdeck.contracts.errors import NotFound
from quarterdeck.core.store import BatchView, CommandView, Store, StreamView


class _Stream(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    length: int
    sha256: str = ""
    verified: bool = False
    truncated_bytes: int = 0


class _Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    command_id: str
    agent_id: str
    guest: str | None = None
    batch_id: str | None = None
    command_type: str | None = None
    state: str
    attempt: int
    version: int
    reason: str | None = None
    error: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    result: str | None = None
    """JSON text."""
    created_at_ms: int | None = None
    sent_at_ms: int | None = None
    accepted_at_ms: int | None = None
    started_at_ms: int | None = None
    completed_at_ms: int | None = None
    stdout: _Stream
    stderr: _Stream


class _Batch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    batch_id: str
    state: str
    version: int
    total: int
    counts: dict[str, int]
    """Children per state."""
    execution_alias: str | None = None
    created_at_ms: int
    completed_at_ms: int | None = None


class CommandSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    command: _Command


class BatchSnapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    batch: _Batch
    commands: list[_Command] = []
    """All children, where no history follows."""


class TenantSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    tenant: str


async def snapshot(store: Store, scope: Scope, *, with_children: bool) -> bytes:
    """JSON. Raises NotFound when the scope expired meanwhile, Unavailable."""
    match scope.kind:
        case Kind.TENANT:
            return msgspec.json.encode(TenantSnapshot(tenant=scope.tenant))
        case Kind.COMMAND:
            view = await store.command(scope.tenant, scope.command_id or "")
            if view is None:
                raise NotFound("no such command", field="command_id")
            return msgspec.json.encode(CommandSnapshot(command=_command(view)))
        case Kind.BATCH:
            batch = await store.batch(scope.tenant, scope.batch_id or "")
            if batch is None:
                raise NotFound("no such batch", field="batch_command_id")
            children: Sequence[CommandView] = await store.children(batch) if with_children else ()
            return msgspec.json.encode(
                BatchSnapshot(batch=_batch(batch), commands=[_command(child) for child in children])
            )


def _command(view: CommandView) -> _Command:
    return _Command(
        command_id=view.command_id,
        agent_id=view.agent_id,
        guest=view.guest,
        batch_id=view.batch_id,
        command_type=view.spec.command_type,
        state=view.state,
        attempt=view.attempt,
        version=view.version,
        reason=view.reason,
        error=view.error,
        exit_code=view.exit_code,
        signal=view.signal,
        result=view.result,
        created_at_ms=view.created_at_ms,
        sent_at_ms=view.sent_at_ms,
        accepted_at_ms=view.accepted_at_ms,
        started_at_ms=view.started_at_ms,
        completed_at_ms=view.completed_at_ms,
        stdout=_stream(view.stdout),
        stderr=_stream(view.stderr),
    )


def _stream(view: StreamView) -> _Stream:
    return _Stream(
        length=view.length, sha256=view.sha256, verified=view.verified, truncated_bytes=view.truncated_bytes
    )


def _batch(view: BatchView) -> _Batch:
    return _Batch(
        batch_id=view.batch_id,
        state=view.state,
        version=view.version,
        total=len(view.targets),
        counts={state.value: number for state, number in view.counts.items()},
        execution_alias=view.execution_alias,
        created_at_ms=view.created_at_ms,
        completed_at_ms=view.completed_at_ms,
    )
