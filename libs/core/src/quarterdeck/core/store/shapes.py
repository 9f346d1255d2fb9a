"""What goes into the store's scripts and what comes out. Packed as MessagePack arrays: the scripts read by position."""

import hashlib
from enum import IntEnum
from typing import Any

import msgspec

from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.limits import SETTLE_MS
from quarterdeck.contracts.states import BatchState, CommandState


class RawEntry(msgspec.Struct, frozen=True, array_like=True):
    """A message to publish once the act that carries it is stored."""

    subject: str
    msg_id: str
    body: bytes


class Idempotency(msgspec.Struct, frozen=True, array_like=True):
    """`scope`: SHA-256 hex over (tenant, principal, key), and the session if in one; `body_hash`: over the request."""

    scope: str
    body_hash: str

    @classmethod
    def of(
        cls, tenant: str, principal: str, key: str, body_hash: str, *, session_id: str | None = None
    ) -> "Idempotency":
        """`key`: as the client gave it."""
        scope = "\0".join((tenant, principal, key, *([session_id] if session_id else [])))
        return cls(hashlib.sha256(scope.encode()).hexdigest(), body_hash)


class Move(msgspec.Struct, frozen=True, array_like=True):
    """One step of one command's state machine."""

    command_id: str
    attempt: int
    to: CommandState
    at_ms: int
    fields: dict[str, Any] = {}
    """Hash fields to write if the move applies; those that are no secret and no bulk are told in the event too."""
    look_in_ms: int = 0
    """When to look at the command again although nothing happened; 0: the state's default."""
    by: str = ""
    """`tenant/agent` whose report asks for it; the move is FOREIGN when the command is not theirs. Empty: our own."""


class Amendment(msgspec.Struct, frozen=True, array_like=True):
    """Fields of an unfinished command that change nothing of its state."""

    command_id: str
    attempt: int
    fields: dict[str, Any]
    by: str = ""
    """As in Move."""


class Child(msgspec.Struct, frozen=True, array_like=True):
    """One child of a batch, created if absent and moved at once (or terminated, when the batch is being stopped)."""

    command_id: str
    agent_id: str
    guest: str | None
    to: CommandState
    fields: dict[str, Any] = {}
    look_in_ms: int = 0


class NewCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A single command as the API takes it in."""

    command_id: str
    tenant: str
    user_id: str
    agent_id: str
    spec: CommandSpec
    created_at_ms: int
    guest: str | None = None
    messages: tuple[RawEntry, ...] = ()
    """Dispatch messages."""
    event_payload: dict[str, Any] = {}
    idempotency: Idempotency | None = None
    end: Move | None = None
    """An end that is known at once, e.g. unreachable; then there is nothing to dispatch."""


class NewBatch(msgspec.Struct, frozen=True, kw_only=True):
    batch_id: str
    tenant: str
    user_id: str
    spec: CommandSpec
    targets: tuple[str, ...]
    """`agent` or `agent/guest`, in the order of the request; the index gives the child's id."""
    created_at_ms: int
    original_request: bytes
    execution_alias: str | None = None
    messages: tuple[RawEntry, ...] = ()
    event_payloads: tuple[dict[str, Any], ...] = ()
    """One per `batch.created` event."""
    idempotency: Idempotency | None = None


class Verdict(IntEnum):
    """What became of a move."""

    BEHIND = 0
    """The stored state is newer: nothing changed."""
    APPLIED = 1
    UNKNOWN = 2
    """No such command (never made, or past its TTL)."""
    ILLEGAL = 3
    RETRIED = 4
    """An end that the retry policy turned into the next attempt."""
    CREATED = 5
    EXISTS = 6
    """A child that an earlier delivery had created; `state` and `attempt` are today's."""
    FOREIGN = 7
    """The agent that reported it is not the one it was ordered from: nothing changed."""


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    verdict: Verdict
    command_id: str
    state: CommandState | None = None
    attempt: int = 0
    version: int = 0
    agent_id: str = ""
    command_type: str = ""
    created_at_ms: int = 0
    batch_id: str | None = None


class OutboxEntry(msgspec.Struct, frozen=True, array_like=True):
    """What the store keeps until the bus has it."""

    shard: int
    entry_id: str
    """Of the shard's outbox stream."""
    kind: str
    """`e`: an EventRecord; `r`: a RawEntry."""
    subject: str
    msg_id: str
    body: bytes


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a script: per item what became of it, and what is now to be published."""

    outcomes: list[Outcome]
    entries: list[OutboxEntry]
    existing_id: str | None = None
    """Set when an idempotency key named something that exists; nothing was written."""
    batch_state: BatchState | None = None


class Due(msgspec.Struct, frozen=True, array_like=True):
    """A command that asks for a look: its order or its stop may have got lost, or it waits for its turn."""

    command_id: str
    tenant: str
    batch_id: str | None
    user_id: str
    agent_id: str
    guest: str | None
    state: CommandState
    attempt: int
    created_at_ms: int
    deadline_at_ms: int
    returned: bool = False
    """Of every hand-over of this attempt it is proved that the order was never written to a link."""
    deliver_by_ms: int = 0
    """Until when it has to start; the deadline of what was sent is later by the time it may run."""
    overdue: bool = False
    """Past its deadline, and held: it may have run."""
    session_id: str | None = None
    """Then it is for whoever can do it, and `agent_id` is the one that it was sent to last."""


class LostOutput(msgspec.Struct, frozen=True, array_like=True):
    """Parts of one output stream that are missing from the log, and always will be."""

    command_id: str
    attempt: int
    stream: str
    parts: tuple[tuple[int, int], ...]
    """(first byte, byte behind the last), in order."""


class HandOver(msgspec.Struct, frozen=True, array_like=True):
    """Where a `sent` command stands with the gateways; changes no state."""

    command_id: str
    attempt: int
    returned: bool
    handover: str
    """Which one is meant; a return takes back nothing but its own."""
    fields: dict[str, Any] = {}
    look_in_ms: int = SETTLE_MS
    by: str = ""
    """As in Move."""
