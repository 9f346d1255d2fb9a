"""Enrolment: a join token, used as often as it allows, turns a new key into a known agent.

Owns the rules: who may take which id. Writes the registry's agents; does not touch the connection.
Called by `opening`. A token is counted, short-lived, and binds tenant and labels; an id is never given to another key
unless it was revoked.
"""

from typing import Final

import structlog

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry import AlreadyExists, Conflict, Entry, Registry
from quarterdeck.core.registry.keys import agent_key, join_token_key
from quarterdeck.core.runtime.tasks import TaskSet
from quarterdeck.gateway.join_tokens import JoinTokens
from quarterdeck.gateway.messages import check_wire_id
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import GoodbyeReason
from quarterdeck.wire.identity import enrol_proof_valid
from quarterdeck.wire.join_token import secret_hash

log = structlog.get_logger()

_KEY_BYTES: Final = 32
_MAX_NAME_CHARS: Final = 128


class Enrolment:
    def __init__(self, registry: Registry, clock: Clock, tasks: TaskSet) -> None:
        self._registry = registry
        self._clock = clock
        self._tokens = JoinTokens(registry, clock, tasks)

    async def enrol(self, request: pb.Enrol, nonce: bytes) -> AgentRecord:
        """The agent's record, made or already there for the same key.

        Raises LinkRefused (join_token_invalid, identity_conflict, revoked, unauthenticated, protocol) and Unavailable.
        """
        agent_id = check_wire_id(request.agent_id, "agent_id")
        if len(request.public_key) != _KEY_BYTES or not enrol_proof_valid(
            request.public_key, request.signature, nonce=nonce, agent_id=agent_id
        ):
            raise LinkRefused(LinkEnd.UNAUTHENTICATED, "the enrolment is not signed by its key")
        token_key = join_token_key(secret_hash(request.join_secret))
        token = await self._tokens.find(token_key)
        existing = await self._registry.agents.get(agent_key(token.value.tenant, agent_id))
        if existing is not None and _may_keep(existing.value, request):
            return existing.value  # it enrolled before and missed our answer: nothing is spent
        await self._tokens.spend(token_key)
        record = AgentRecord(
            tenant=token.value.tenant,
            agent_id=agent_id,
            public_key=request.public_key,
            name=request.name[:_MAX_NAME_CHARS] or agent_id,
            labels=token.value.labels,
            bound_labels=token.value.labels,
            enrolled_at_ms=self._clock.now_ms(),
        )
        await self._store(record, existing)
        log.info(
            "gateway.agent_enrolled", tenant=record.tenant, agent_id=agent_id, token_id=token.value.token_id
        )
        return record

    async def _store(self, record: AgentRecord, existing: Entry[AgentRecord] | None) -> None:
        key = agent_key(record.tenant, record.agent_id)
        try:
            if existing is None:
                await self._registry.agents.create(key, record)
            else:
                await self._registry.agents.update(key, record, existing.revision)
        except (AlreadyExists, Conflict):
            raise LinkRefused(GoodbyeReason.IDENTITY_CONFLICT, "the agent id was taken meanwhile") from None


def _may_keep(existing: AgentRecord, request: pb.Enrol) -> bool:
    """True: the same agent again. False: the id is free because it was revoked. Raises LinkRefused otherwise."""
    same_key = existing.public_key == request.public_key
    if existing.revoked:
        if same_key:
            raise LinkRefused(LinkEnd.REVOKED, "this key was revoked")
        return False
    if not same_key:
        raise LinkRefused(GoodbyeReason.IDENTITY_CONFLICT, "the agent id is enrolled with another key")
    return True
