"""Durable records of agents and of the secrets that open our doors. Kept in the registry, never in Redis."""

from enum import StrEnum

import msgspec


class Dialect(StrEnum):
    """The protocol that an agent speaks."""

    NATIVE = "native"
    AGENT_SERVICE = "agent_service"
    DEEPFLOW = "deepflow"
    QUICFLOW = "quicflow"


class AgentRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="agent/1"):
    """Value in QD_AGENTS under `<tenant>.<agent_id>`: who the agent is and what it last said of itself."""

    tenant: str
    agent_id: str
    public_key: bytes = b""
    """Ed25519, 32 bytes raw. Made on the agent; the private half never leaves it. Empty for other dialects."""
    name: str
    labels: dict[str, str] = {}
    """What the agent says of itself, with `bound_labels` over it."""
    bound_labels: dict[str, str] = {}
    """From the join token; the agent cannot override them."""
    facts: dict[str, str] = {}
    capabilities: tuple[str, ...] = ()
    """Command types that the agent executes."""
    guests: tuple[str, ...] = ()
    aliases: dict[str, str] = {}
    """Its names in other protocols, by Dialect. Empty for agents of ours."""
    version: str = ""
    enrolled_at_ms: int = 0
    last_seen_ms: int = 0
    revoked: bool = False

    @property
    def dialect(self) -> Dialect:
        """The protocol it speaks."""
        return Dialect(next(iter(self.aliases), Dialect.NATIVE))


class AgentIdentity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="agent_identity/1"):
    """Value in QD_TOKENS under `identity.<SHA-256 of dialect and identity, hex>`: which agent a foreign name means.

    A name means one agent on the whole installation, because a foreign agent cannot say its tenant.
    """

    tenant: str
    agent_id: str
    dialect: Dialect
    identity: str
    """The name in the dialect: vps_db_id in decimal, `ip-mac`, or client_id."""
    created_at_ms: int
    secret_sha256: bytes = b""
    """agent_service: SHA-256 of the secret that every message must carry."""


class ApiToken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="api_token/1"):
    """Value in QD_TOKENS under `api.<SHA-256 of the token, hex>`; the token itself is stored nowhere."""

    token_id: str
    tenant: str
    principal: str
    """Who acts: becomes user_id of what the token creates."""
    created_at_ms: int
    expires_at_ms: int | None = None


class JoinToken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="join_token/1"):
    """Value in QD_TOKENS under `join.<SHA-256 of the secret, hex>`: permission to enrol agents."""

    token_id: str
    tenant: str
    created_at_ms: int
    expires_at_ms: int
    uses_left: int = 1
    labels: dict[str, str] = {}
    """Bound to every agent that enrols with it; the agent cannot override them."""


class WatchTicket(msgspec.Struct, frozen=True, kw_only=True, tag="watch_ticket/1"):
    """Value in QD_TOKENS under `ticket.<SHA-256 of the ticket, hex>`: one event stream for whoever holds it, once."""

    tenant: str
    principal: str
    token_id: str
    """Of the token that it was issued to."""
    expires_at_ms: int
    """0: it was used."""
