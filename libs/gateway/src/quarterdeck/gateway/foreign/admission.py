"""Admission: who an agent of another protocol is, by the name and the secret that it gives.

Owns the decision and who hears of a refusal; the registry's rules are in core/registry/foreign_agents.py, what a
dialect answers is the dialect's. Called by every dialect while it opens a link. A stranger is turned away, or, where
the operator said so for a trial, enrolled at first contact with the secret that it came with.
"""

import hashlib
import hmac
from typing import NoReturn

import structlog

from quarterdeck.contracts.agents import AgentIdentity, AgentRecord, Dialect
from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.identities import distinct, slug, suggested_agent_id
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry import AgentIdTaken, ForeignAgents, IdentityTaken, Registry
from quarterdeck.gateway.agent_events import AgentEvents
from quarterdeck.gateway.foreign.refusals import Refusal, RefusalReason, Refusals

log = structlog.get_logger()

_STRANGER = "no agent of that name, or not with this secret"
"""Says no more to the peer: who guesses names must not learn which of them exist."""


class Admission:
    """`admit`: enrol strangers, into `tenant`. Also the tenant that hears of strangers who are turned away."""

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        events: AgentEvents,
        *,
        admit: bool = False,
        tenant: str = "default",
    ) -> None:
        self._agents = ForeignAgents(registry)
        self._clock = clock
        self._refusals = Refusals(events, clock)
        self._admit = admit
        self._tenant = tenant

    async def known(
        self,
        dialect: Dialect,
        identity: str,
        *,
        peer: str,
        secret: bytes | None = None,
        suggested_id: str = "",
    ) -> AgentRecord:
        """The agent's record. `identity`: as contracts/identities.py writes it; `secret`: None where there is none.

        `suggested_id`: for a stranger who is enrolled; made from the name when empty. Raises LinkRefused
        (unauthenticated, revoked), Unavailable.
        """
        found = await self._agents.find(dialect, identity)
        if found is None:
            if not self._admit:
                self._refuse(dialect, identity, peer, RefusalReason.UNKNOWN_IDENTITY)
            return await self._enrol(dialect, identity, secret, suggested_id)
        if found.record.revoked:
            self._refuse(dialect, identity, peer, RefusalReason.REVOKED, found.record)
        if not self._proved(found.identity, secret):
            self._refuse(dialect, identity, peer, RefusalReason.WRONG_SECRET, found.record)
        return found.record

    async def remember(self, said: AgentRecord) -> AgentRecord:
        """Store what an agent that is known says of itself. Raises Unavailable."""
        return await self._agents.describe(said, self._clock.now_ms())

    def _proved(self, identity: AgentIdentity, secret: bytes | None) -> bool:
        if identity.secret_sha256:
            given = hashlib.sha256(secret or b"").digest()
            return hmac.compare_digest(given, identity.secret_sha256)
        # Only a trial enrols agents of this dialect without a secret, and only in a trial they may come.
        return identity.dialect is not Dialect.AGENT_SERVICE or self._admit

    async def _enrol(
        self, dialect: Dialect, identity: str, secret: bytes | None, suggested_id: str
    ) -> AgentRecord:
        agent_id = slug(suggested_id or suggested_agent_id(dialect, identity))
        secret_sha256 = hashlib.sha256(secret).digest() if secret else b""
        try:
            record = await self._register(agent_id, dialect, identity, secret_sha256)
        except AgentIdTaken:  # another name that makes the same id
            record = await self._register(distinct(agent_id, identity), dialect, identity, secret_sha256)
        log.info(
            "gateway.agent_admitted", tenant=record.tenant, agent_id=record.agent_id, dialect=str(dialect)
        )
        return record

    async def _register(
        self, agent_id: str, dialect: Dialect, identity: str, secret_sha256: bytes
    ) -> AgentRecord:
        wanted = AgentRecord(
            tenant=self._tenant,
            agent_id=agent_id,
            name=agent_id,
            aliases={dialect: identity},
            enrolled_at_ms=self._clock.now_ms(),
        )
        try:
            return await self._agents.register(wanted, secret_sha256)
        except IdentityTaken:
            raise LinkRefused(LinkEnd.UNAUTHENTICATED, "the name was taken meanwhile") from None

    def _refuse(
        self,
        dialect: Dialect,
        identity: str,
        peer: str,
        reason: RefusalReason,
        record: AgentRecord | None = None,
    ) -> NoReturn:
        """Raises LinkRefused, after it was told."""
        self._refusals.tell(
            Refusal(
                tenant=self._tenant if record is None else record.tenant,
                dialect=dialect,
                identity=identity,
                peer=peer,
                reason=reason,
                agent_id=None if record is None else record.agent_id,
            )
        )
        if reason is RefusalReason.REVOKED:
            raise LinkRefused(LinkEnd.REVOKED, "this agent was revoked")
        raise LinkRefused(LinkEnd.UNAUTHENTICATED, _STRANGER)
