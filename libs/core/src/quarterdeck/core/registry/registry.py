"""The tables of the registry over one bus. Made by the runtime; each service watches the tables that it needs."""

from quarterdeck.contracts.agents import AgentIdentity, AgentRecord, ApiToken, JoinToken, WatchTicket
from quarterdeck.contracts.links import GatewayLease, LinkRecord
from quarterdeck.contracts.policies import Approval, CommandPolicy
from quarterdeck.contracts.streams import AGENTS, GATEWAYS, LINKS, POLICIES, TOKENS
from quarterdeck.core.bus import Bus
from quarterdeck.core.registry.table import Table


class Registry:
    """Nothing is read before a table's `watch` or `get` is called."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.agents: Table[AgentRecord] = Table(bus, AGENTS, AgentRecord)
        self.links: Table[LinkRecord] = Table(bus, LINKS, LinkRecord)
        self.gateways: Table[GatewayLease] = Table(bus, GATEWAYS, GatewayLease)
        self.tokens: Table[ApiToken | JoinToken | WatchTicket | AgentIdentity] = Table(
            bus, TOKENS, ApiToken | JoinToken | WatchTicket | AgentIdentity
        )
        self.policies: Table[CommandPolicy | Approval] = Table(bus, POLICIES, CommandPolicy | Approval)

    async def close(self) -> None:
        """Stop all watches."""
        for table in (self.agents, self.links, self.gateways, self.tokens, self.policies):
            await table.close()
