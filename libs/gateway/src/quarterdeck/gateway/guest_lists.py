"""Guests that agents announce and withdraw while they are linked: kept in the agents' records, and told to the world.

What an agent came with is in its Hello, and is `opening`'s business. Of each link only the latest list waits here, and
it is written at most once in _PACE_S, so that an agent whose guests come and go all the time costs no more than that.
A list of a link that is not the agent's any more is dropped: the newer link's Hello knows better. Called by the inbox.
"""

import asyncio
from typing import Final

import msgspec
import structlog

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core.bus import BusError
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry import Conflict, Entry, Registry
from quarterdeck.core.registry.keys import agent_key
from quarterdeck.core.runtime.tasks import TaskSet
from quarterdeck.gateway.agent_events import AgentEvents
from quarterdeck.gateway.link import Link, LinkTable

log = structlog.get_logger()

_PACE_S: Final = 1.0
_RETRY_S: Final = 1.0


class GuestLists:
    def __init__(
        self, registry: Registry, clock: Clock, tasks: TaskSet, links: LinkTable, events: AgentEvents
    ) -> None:
        """`links`: of this gateway; a link that is not in it has ended, or was replaced."""
        self._registry = registry
        self._clock = clock
        self._tasks = tasks
        self._links = links
        self._events = events
        self._waiting: dict[Link, tuple[str, ...]] = {}
        self._writing: set[Link] = set()

    def announced(self, link: Link, guests: tuple[str, ...]) -> None:
        """All guests that the agent has now: checked names, sorted. Waits for nothing."""
        self._waiting[link] = guests
        if link not in self._writing:
            self._writing.add(link)
            self._tasks.spawn(self._write(link), "guest_list")

    async def _write(self, link: Link) -> None:
        """Until nothing of this link waits any more."""
        try:
            while link in self._waiting:
                await self._store(link, self._waiting.pop(link))
                await asyncio.sleep(_PACE_S)
        finally:
            self._writing.discard(link)
            self._waiting.pop(link, None)

    async def _store(self, link: Link, guests: tuple[str, ...]) -> None:
        key = agent_key(link.tenant, link.agent_id)
        while self._links.find(link.tenant, link.agent_id) is link:
            try:
                entry = await self._registry.agents.get(key)
                if entry is None or entry.value.revoked or entry.value.guests == guests:
                    return
                revision = await self._update(key, entry, guests)
            except Conflict:
                continue
            except (Unavailable, BusError) as error:
                log.warning("gateway.guest_list_delayed", agent_id=link.agent_id, error=error.message)
                await asyncio.sleep(_RETRY_S)
                continue
            log.info("gateway.guests_changed", agent_id=link.agent_id, guests=len(guests))
            if link.epoch is not None:
                self._events.guests_changed(entry.value, guests, link.epoch, revision, self._clock.now_ms())
            return

    async def _update(self, key: str, entry: Entry[AgentRecord], guests: tuple[str, ...]) -> int:
        record = msgspec.structs.replace(entry.value, guests=guests, last_seen_ms=self._clock.now_ms())
        return await self._registry.agents.update(key, record, entry.revision)
