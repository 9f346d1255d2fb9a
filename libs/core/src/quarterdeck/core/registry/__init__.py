"""The registry: durable records in JetStream key-value buckets, watched into memory.

    keys.py      how keys are built
    table.py     one bucket as a typed table
    roster.py    which agent has which link now
    foreign_agents.py   agents of other protocols: their records, and what their names mean

Holds agents, links, gateways' leases and tokens. Command state is not here but in the store.
"""

from quarterdeck.core.registry.errors import AgentIdTaken, AlreadyExists, Conflict, IdentityTaken
from quarterdeck.core.registry.foreign_agents import ForeignAgent, ForeignAgents
from quarterdeck.core.registry.registry import Registry
from quarterdeck.core.registry.roster import Found, Gone, LinkRoster, Recently
from quarterdeck.core.registry.table import Entry, Table

__all__ = [
    "AgentIdTaken",
    "AlreadyExists",
    "Conflict",
    "Entry",
    "ForeignAgent",
    "ForeignAgents",
    "Found",
    "Gone",
    "IdentityTaken",
    "LinkRoster",
    "Recently",
    "Registry",
    "Table",
]
