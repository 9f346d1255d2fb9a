"""What this gateway says of itself and its links in the registry: its lease, and a record per link.

A link's record is written when it comes (its revision is the link's epoch) and when it ends, if it is still ours then.
Heartbeats are not written. Records of links that come together go out in one burst. Called by the gateway.
"""

import asyncio
from typing import Final, NamedTuple

import structlog

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.errors import Unavailable
from quarterdeck.contracts.links import LEASE_RENEW_MS, Epoch, GatewayLease, LinkEnd, LinkRecord
from quarterdeck.core.bus import BusError
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry import Conflict, Registry
from quarterdeck.core.registry.keys import gateway_key, link_key
from quarterdeck.core.runtime.tasks import TaskSet
from quarterdeck.gateway.agent_events import AgentEvents
from quarterdeck.gateway.link import Link
from quarterdeck.gateway.settings import GatewaySettings

log = structlog.get_logger()

_RETRY_S: Final = 1.0


class _Coming(NamedTuple):
    record: LinkRecord
    revision: asyncio.Future[int]


class LinkRecords:
    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        settings: GatewaySettings,
        tasks: TaskSet,
        events: AgentEvents,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._settings = settings
        self._tasks = tasks
        self._events = events
        self._coming: list[_Coming] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._lease: asyncio.Task[None] | None = None
        self._draining = False

    async def start(self) -> None:
        """Take the lease, and keep it from now on."""
        await self._try_renew()
        self._lease = self._tasks.spawn(self._keep_lease(), "gateway_lease")

    async def connected(self, link: Link, agent: AgentRecord) -> Epoch:
        """Write the record of a link that came; its epoch. Raises Unavailable."""
        record = LinkRecord(
            tenant=link.tenant,
            agent_id=link.agent_id,
            gateway_id=self._settings.gateway_id,
            carrier=self._settings.carrier,
            dialect=link.dialect,
            since_ms=link.since_ms,
        )
        before = self._registry.links.current.get(link_key(link.tenant, link.agent_id))
        coming = _Coming(record, asyncio.get_running_loop().create_future())
        self._coming.append(coming)
        if len(self._coming) == 1:
            self._tasks.spawn(self._write_coming(), "link_records")
        try:
            revision = await asyncio.shield(coming.revision)
        except asyncio.CancelledError:
            # The agent gave up meanwhile, and the record is on its way: take it back, or the link looks alive for ever.
            self._tasks.spawn(self._withdraw(link, coming), "link_record_withdrawn")
            raise
        first = before is None or before.value.since_ms < agent.enrolled_at_ms
        self._events.connected(record, revision, agent, first=first)
        return Epoch(self._registry.links.incarnation, revision)

    def disconnected(self, link: Link, end: LinkEnd) -> None:
        """Say that the link ended, unless a newer one has taken its place. Waits for nothing."""
        if link.epoch is not None:
            task = self._tasks.spawn(self._write_end(link, link.epoch.revision, end), "link_record_end")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def drain(self) -> None:
        """Dispatchers read from the lease that agents will soon be elsewhere."""
        self._draining = True
        await self._try_renew()

    async def finish(self) -> None:
        """Wait for the ends of all links to be written, then give the lease back. Raises Unavailable."""
        if self._leaving:
            await asyncio.wait(self._leaving)
        if self._lease is not None:
            self._lease.cancel()
            await asyncio.wait({self._lease})
        await self._registry.gateways.delete(gateway_key(self._settings.gateway_id))

    async def _write_coming(self) -> None:
        await asyncio.sleep(0)  # whoever came in this turn of the loop goes along
        coming, self._coming = self._coming, []
        items = [(link_key(each.record.tenant, each.record.agent_id), each.record) for each in coming]
        try:
            revisions = await self._registry.links.put_many(items)
        except (Unavailable, BusError) as error:
            for each in coming:
                if not each.revision.done():
                    each.revision.set_exception(Unavailable(error.message))
            return
        for each, revision in zip(coming, revisions, strict=True):
            if not each.revision.done():
                each.revision.set_result(revision)

    async def _withdraw(self, link: Link, coming: _Coming) -> None:
        try:
            revision = await coming.revision
        except Unavailable:
            return
        await self._write_end(link, revision, LinkEnd.CLOSED)

    async def _write_end(self, link: Link, revision: int, end: LinkEnd) -> None:
        ended = LinkRecord(
            tenant=link.tenant,
            agent_id=link.agent_id,
            gateway_id=self._settings.gateway_id,
            carrier=self._settings.carrier,
            dialect=link.dialect,
            since_ms=link.since_ms,
            ended_at_ms=self._clock.now_ms(),
            end=end,
        )
        key = link_key(link.tenant, link.agent_id)
        while True:
            try:
                written = await self._registry.links.update(key, ended, revision)
                self._events.disconnected(ended, written)
                return
            except Conflict:
                return  # a newer link has the record
            except (Unavailable, BusError) as error:
                log.warning("gateway.link_record_delayed", agent_id=link.agent_id, error=error.message)
                await asyncio.sleep(_RETRY_S)

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(LEASE_RENEW_MS / 1000)
            await self._try_renew()

    async def _try_renew(self) -> None:
        lease = GatewayLease(
            gateway_id=self._settings.gateway_id,
            carrier=self._settings.carrier,
            renewed_at_ms=self._clock.now_ms(),
            draining=self._draining,
        )
        try:
            await self._registry.gateways.put(gateway_key(self._settings.gateway_id), lease)
        except (Unavailable, BusError) as error:
            # Not ours to mend: dispatchers know their own silence from ours, and the next round comes.
            log.warning("gateway.lease_not_renewed", error=error.message)
