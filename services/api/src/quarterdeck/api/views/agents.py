"""Agents and tokens as the API shows them. Keys and hashes stay inside."""

from collections.abc import Iterable

import msgspec

from quarterdeck.api.views.times import maybe_rfc3339
from quarterdeck.contracts.agents import AgentRecord, ApiToken
from quarterdeck.contracts.events import rfc3339
from quarterdeck.core.registry import Found, Gone, Recently


class Link(msgspec.Struct, frozen=True, kw_only=True):
    carrier: str
    dialect: str
    gateway_id: str
    epoch: str
    since: str


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    agent_id: str
    name: str
    labels: dict[str, str]
    facts: dict[str, str]
    connected: bool
    link: Link | None
    last_seen: str | None
    version: str
    capabilities: tuple[str, ...]
    guests: tuple[str, ...]
    aliases: dict[str, str]
    """Its name in another protocol, by dialect."""
    revoked: bool


class OneAgent(msgspec.Struct, frozen=True, kw_only=True):
    success: bool = True
    agent: Agent


class RegisteredAgent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    success: bool
    agent: Agent
    secret: str | None = None
    """Of an agent_service agent: what each of its messages must carry. Shown this once."""


class ManyAgents(msgspec.Struct, frozen=True, kw_only=True):
    success: bool = True
    total: int
    agents: list[Agent]


class Token(msgspec.Struct, frozen=True, kw_only=True):
    token_id: str
    principal: str
    created_at: str
    expires_at: str | None


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    token_id: str
    principal: str
    expires_at: str | None
    token: str
    """Shown this once."""


class ManyTokens(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    tokens: list[Token]


class NewJoinToken(msgspec.Struct, frozen=True, kw_only=True):
    token_id: str
    join_token: str
    """Shown this once."""
    expires_at: str
    uses: int


class NewTicket(msgspec.Struct, frozen=True, kw_only=True):
    ticket: str
    expires_in_s: int


def agent(record: AgentRecord, link: Found | Recently | Gone) -> Agent:
    found = link if isinstance(link, Found) else None
    lost_at_ms = None if found else link.lost_at_ms if isinstance(link, Recently | Gone) else None
    last_seen_ms = max(record.last_seen_ms, lost_at_ms or 0, found.record.since_ms if found else 0)
    return Agent(
        agent_id=record.agent_id,
        name=record.name,
        labels=record.labels,
        facts=record.facts,
        connected=found is not None,
        link=_link(found) if found else None,
        last_seen=maybe_rfc3339(last_seen_ms or None),
        version=record.version,
        capabilities=record.capabilities,
        guests=record.guests,
        aliases=record.aliases,
        revoked=record.revoked,
    )


def fits(shown: Agent, labels: Iterable[str], connected: bool | None) -> bool:
    """`labels`: `name=value` or `name`; all must fit."""
    if connected is not None and shown.connected is not connected:
        return False
    for wanted in labels:
        name, has_value, value = wanted.partition("=")
        if name not in shown.labels or (has_value and shown.labels[name] != value):
            return False
    return True


def token(record: ApiToken) -> Token:
    return Token(
        token_id=record.token_id,
        principal=record.principal,
        created_at=rfc3339(record.created_at_ms),
        expires_at=maybe_rfc3339(record.expires_at_ms),
    )


def _link(found: Found) -> Link:
    return Link(
        carrier=found.record.carrier,
        dialect=found.record.dialect,
        gateway_id=found.gateway_id,
        epoch=str(found.epoch),
        since=rfc3339(found.record.since_ms),
    )
