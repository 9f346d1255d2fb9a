"""What people call the machines. Only WebSockets tell it, so the agents are kept in memory from the first one on."""

from quarterdeck.core.registry import Registry
from quarterdeck.core.registry.keys import agent_key
from quarterdeck.web.tasks import NameOf


class Names:
    def __init__(self, registry: Registry) -> None:
        self._agents = registry.agents

    async def of_tenant(self, tenant: str) -> NameOf:
        """agent_id → name; the id itself for machines without one, and for those that are no more."""
        await self._agents.watch()

        def name_of(agent_id: str) -> str:
            entry = self._agents.current.get(agent_key(tenant, agent_id))
            if entry is None or entry.value.revoked:
                return agent_id
            return entry.value.name or agent_id

        return name_of
