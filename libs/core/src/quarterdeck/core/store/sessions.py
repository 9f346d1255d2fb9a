"""Sessions in the store: creation, the one act that takes a command of theirs in, and reading them.

A session, its rounds and its commands live in one shard. Whether a command may be taken in is decided by the script;
who may ask is not decided here (core/conversations).
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

from quarterdeck.contracts import codec
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.ids import shard_of
from quarterdeck.core.store import keys
from quarterdeck.core.store.births import spec_fields
from quarterdeck.core.store.connection import ScriptRunner
from quarterdeck.core.store.script_answers import written
from quarterdeck.core.store.shapes import Idempotency, OutboxEntry, RawEntry

_FIELDS: Final = ("tenant", "owner", "created_at_ms", "updated_at_ms")


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """A session as it is now."""

    session_id: str
    tenant: str
    owner: str
    created_at_ms: int
    updated_at_ms: int
    rounds: int
    """How many it has; they are numbered from 1."""
    newest_command_id: str | None
    """Of the last round: the only command of the session that may not have ended."""


class NewRound(msgspec.Struct, frozen=True, kw_only=True):
    """A session's command as it is taken in, with the round that it makes. `command_id`: of the session's shard."""

    session_id: str
    tenant: str
    user_id: str
    command_id: str
    spec: CommandSpec
    created_at_ms: int
    messages: tuple[RawEntry, ...]
    """Dispatch messages."""
    accepted: dict[str, Any]
    """What `command.accepted` tells; the script adds the round's number."""
    told: dict[str, Any]
    """What `session.round_created` tells; likewise."""
    idempotency: Idempotency | None = None


class Standing(StrEnum):
    """Why a command stands for a request."""

    NEW = "new"
    KEY = "key"
    """An earlier request with the same idempotency key."""
    PENDING = "pending"
    """The session has one that has not ended."""
    CONFLICT = "conflict"
    """None does: the key came with another body before."""
    GONE = "gone"
    """None does: there is no such session (any more)."""


class Enqueued(msgspec.Struct, frozen=True, kw_only=True):
    standing: Standing
    command_id: str
    """Empty for CONFLICT and GONE."""
    round: int
    """Its number in the session; 0 for CONFLICT and GONE."""
    entries: list[OutboxEntry]
    """To be published before anybody hears of the command; of an earlier one, those that its writer left."""


class Sessions:
    _runner: ScriptRunner

    async def create_session(
        self, tenant: str, session_id: str, owner: str, created_at_ms: int
    ) -> list[OutboxEntry]:
        """Raises Unavailable."""
        shard = shard_of(session_id)
        answer = await self._runner.run("create_session", shard, (session_id, tenant, owner, created_at_ms))
        return written(shard, answer).entries

    async def enqueue(self, new: NewRound) -> Enqueued:
        """Command, round, events and outbox entries, or nothing. Safe to repeat. Raises Unavailable."""
        fields = {
            "tenant": new.tenant,
            "user_id": new.user_id,
            "agent_id": new.accepted["agent_id"],
            "spec": codec.encode(new.spec),
            **spec_fields(new.spec, new.created_at_ms),
        }
        request = (
            new.session_id,
            new.tenant,
            new.command_id,
            new.created_at_ms,
            fields,
            new.accepted,
            new.told,
            new.messages,
            new.idempotency,
        )
        shard = shard_of(new.session_id)
        answer = await self._runner.run("enqueue", shard, request)
        how, command_id, number = answer[2]
        standing = Standing(how.decode())
        if command_id.decode() == new.command_id:  # a repeated try finds what the first one wrote
            standing = Standing.NEW
        return Enqueued(
            standing=standing,
            command_id=command_id.decode(),
            round=number,
            entries=written(shard, answer).entries,
        )

    async def session(self, tenant: str, session_id: str) -> SessionView | None:
        """None when the tenant has no such session, or it ended long ago. Raises Unavailable."""
        answer = await self._runner.run("read_session", shard_of(session_id), (session_id, _FIELDS))
        (owned_by, owner, created_at_ms, updated_at_ms), rounds, newest = answer[2]
        if owned_by is None or owned_by.decode() != tenant:
            return None
        return SessionView(
            session_id=session_id,
            tenant=tenant,
            owner=owner.decode(),
            created_at_ms=int(created_at_ms),
            updated_at_ms=int(updated_at_ms),
            rounds=rounds,
            newest_command_id=newest.decode() if newest else None,
        )

    async def rounds(self, session_id: str) -> list[tuple[int, str]]:
        """(number, command id) of all rounds, in order. Raises Unavailable."""
        key = keys.key(shard_of(session_id), "rounds", session_id)
        (pairs,) = await self._runner.plain([("ZRANGE", key, 0, -1, "WITHSCORES")])
        flat = [piece for pair in pairs for piece in (pair if isinstance(pair, list | tuple) else [pair])]
        return [(round(float(score)), one.decode()) for one, score in zip(flat[::2], flat[1::2], strict=True)]
