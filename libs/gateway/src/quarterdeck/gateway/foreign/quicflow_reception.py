"""How a quicflow client gets its link: only while no other link has its name, and for as long as it keeps pinging.

In other protocols a newer link of an agent takes the older one's place. Here the older one stays, and whoever comes
under a name that is taken is turned away. Made by the QUIC gateway.
"""

import msgspec

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.links import LEASE_MS, LinkEnd
from quarterdeck.core.registry import Registry
from quarterdeck.core.registry.keys import gateway_key, link_key
from quarterdeck.gateway.connection import Connection
from quarterdeck.gateway.foreign.link import ForeignLink
from quarterdeck.gateway.foreign.quicflow import QuicflowDialect
from quarterdeck.gateway.link import LinkParts, LinkTable
from quarterdeck.wire.quicflow import HEARTBEAT_INTERVAL_S, MISSED_HEARTBEATS


class QuicflowReception:
    """`links`: those of this gateway; the registry knows those of the others."""

    def __init__(self, dialect: QuicflowDialect, registry: Registry, links: LinkTable) -> None:
        self._dialect = dialect
        self._registry = registry
        self._links = links

    async def open(self, connection: Connection, parts: LinkParts) -> ForeignLink:
        """Raises LinkRefused, ConnectionLost, DecodeError, Unavailable."""
        conversation = await self._dialect.open(connection)
        record = conversation.record
        # The look at our own links comes last and is not awaited: the gateway adds the new one in the same breath.
        taken = await self._linked_elsewhere(record, parts)
        if taken or self._links.find(record.tenant, record.agent_id) is not None:
            raise LinkRefused(LinkEnd.PROTOCOL, "this client_id is connected")
        silence_s = min(parts.settings.silence_s, HEARTBEAT_INTERVAL_S * MISSED_HEARTBEATS)
        settings = msgspec.structs.replace(parts.settings, silence_s=silence_s)
        own_parts = msgspec.structs.replace(parts, settings=settings)
        return ForeignLink(own_parts, connection, conversation, self._dialect.name)

    async def refuse(self, connection: Connection, reason: str, text: str) -> None:
        """The close of the connection says it."""

    async def _linked_elsewhere(self, agent: AgentRecord, parts: LinkParts) -> bool:
        """Whether another gateway, one that lives, has a link of this agent."""
        entry = self._registry.links.current.get(link_key(agent.tenant, agent.agent_id))
        if entry is None or entry.value.ended_at_ms is not None:
            return False
        if entry.value.gateway_id == parts.settings.gateway_id:
            return False
        lease = await self._registry.gateways.get(gateway_key(entry.value.gateway_id))
        return lease is not None and parts.clock.now_ms() - lease.value.renewed_at_ms <= LEASE_MS
