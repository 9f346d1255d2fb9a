"""Who can do what now: finds an agent for commands that name none, in turn among those that can and have a link.

Owns the capabilities of all agents, in memory, from the registry. Links are the roster's. Called by intake.py and
attention.py through `find`; tells attention.py for whom something may have waited.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.sessions import ANY_AGENT, whoever_can
from quarterdeck.core.registry import Entry, Found, Gone, Registry
from quarterdeck.core.registry.keys import agent_key, parse_agent_key
from quarterdeck.dispatcher.handlers import Find, Link

OnAble = Callable[[str, str], None]
"""`(tenant, name)`: commands that wait for `name` may be sent now. `name`: an agent's, or of `whoever_can`."""


class Crew:
    """`links`: the roster's `find`. Fill it by watching the registry's agents after it was made."""

    def __init__(self, registry: Registry, links: Find) -> None:
        self._links = links
        self._callbacks: list[OnAble] = []
        self._types: dict[str, frozenset[str]] = {}
        """By key in the registry."""
        self._able: defaultdict[tuple[str, str], OrderedDict[str, None]] = defaultdict(OrderedDict)
        """Agents by (tenant, command type); the first is the next one's turn."""
        registry.agents.on_change(self._agent_changed)

    def find(self, tenant: str, name: str) -> Link:
        """The link of the agent `name`; for a name of `whoever_can`, that of the one whose turn it is."""
        if name.startswith(ANY_AGENT):
            return self._next(tenant, name.removeprefix(ANY_AGENT))
        return self._links(tenant, name)

    def on_able(self, callback: OnAble) -> None:
        """Call `callback` when somebody came, or can do more than before."""
        self._callbacks.append(callback)

    def agent_connected(self, tenant: str, agent_id: str) -> None:
        """To be called for every new link."""
        types = self._types.get(agent_key(tenant, agent_id), frozenset())
        self._tell(tenant, [agent_id, *map(whoever_can, types)])

    def _next(self, tenant: str, command_type: str) -> Found | Gone:
        able = self._able.get((tenant, command_type), OrderedDict())
        leaving: Found | None = None
        for _ in range(len(able)):
            agent_id = next(iter(able))
            able.move_to_end(agent_id)
            link = self._links(tenant, agent_id)
            if isinstance(link, Found):
                if not link.draining:
                    return link
                leaving = leaving or link
        return leaving or Gone(None)

    def _agent_changed(self, key: str, entry: Entry[AgentRecord] | None) -> None:
        tenant, agent_id = parse_agent_key(key)
        record = entry.value if entry is not None and not entry.value.revoked else None
        types = frozenset(record.capabilities) if record is not None else frozenset()
        before = self._types.pop(key, frozenset())
        if types:
            self._types[key] = types
        for command_type in before - types:
            able = self._able[tenant, command_type]
            able.pop(agent_id, None)
            if not able:
                del self._able[tenant, command_type]
        for command_type in types - before:
            self._able[tenant, command_type][agent_id] = None
        self._tell(tenant, map(whoever_can, types - before))

    def _tell(self, tenant: str, names: Iterable[str]) -> None:
        for name in names:
            for callback in self._callbacks:
                callback(tenant, name)
