"""Who is in the fleet, as the routes ask: does the tenant have this agent, is it connected, what is it called.

Reads the registry's memory. An agent that memory does not know yet is looked up once on the server: it may have
enrolled, or linked, a moment ago.
"""

from collections.abc import Iterable
from typing import Final

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.core.registry import Gone, LinkRoster, Registry
from quarterdeck.core.registry.keys import agent_key, link_key

_MAX_LOOK_UPS: Final = 20
"""Per request. More unknown agents than this are a mistake of the caller and not a matter of moments."""


class Fleet:
    def __init__(self, registry: Registry, roster: LinkRoster) -> None:
        self._registry = registry
        self._roster = roster

    def record(self, tenant: str, agent_id: str) -> AgentRecord | None:
        """None also for agents that were revoked."""
        entry = self._registry.agents.current.get(agent_key(tenant, agent_id))
        return None if entry is None or entry.value.revoked else entry.value

    def name(self, tenant: str, agent_id: str) -> str:
        record = self.record(tenant, agent_id)
        return record.name if record is not None and record.name else agent_id

    def connected(self, tenant: str, agent_id: str) -> bool:
        """It has a link, or lost it so recently that it may be back in a moment."""
        return not isinstance(self._roster.find(tenant, agent_id), Gone)

    async def known(self, tenant: str, agent_ids: Iterable[str]) -> frozenset[str]:
        """Those of `agent_ids` that the tenant has. Raises Unavailable."""
        known: set[str] = set()
        missing: list[str] = []
        for agent_id in agent_ids:
            (known.add if self.record(tenant, agent_id) is not None else missing.append)(agent_id)
        if len(missing) <= _MAX_LOOK_UPS:
            for agent_id in missing:
                entry = await self._registry.agents.get(agent_key(tenant, agent_id))
                if entry is not None and not entry.value.revoked:
                    known.add(agent_id)
        return frozenset(known)

    async def surely_gone(self, tenant: str, agent_id: str) -> bool:
        """Not connected, also by the server's own record of the link. Raises Unavailable."""
        if self.connected(tenant, agent_id):
            return False
        entry = await self._registry.links.get(link_key(tenant, agent_id))
        if self.connected(tenant, agent_id):  # memory caught up while we asked
            return False
        known = self._registry.links.current.get(link_key(tenant, agent_id))
        return entry is None or (known is not None and known.revision >= entry.revision)
