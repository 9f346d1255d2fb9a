"""The gateway behind both carriers: takes connections of any protocol, opens links, serves them, and leaves in order.

Owns the parts and the life of each link; which wire a connection came over is the carrier's business. Called by the
services: `start`, then `serve` for every connection, then `drain`. Keeps no durable state: a gateway that dies loses
links, never commands.
"""

import asyncio
from typing import Final

import structlog

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.errors import DecodeError, LinkRefused, Unavailable
from quarterdeck.contracts.links import LinkEnd, LinkRecord
from quarterdeck.core.bus import BusError
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry import Entry, Registry
from quarterdeck.core.registry.keys import agent_key, parse_agent_key
from quarterdeck.core.runtime.tasks import TaskSet
from quarterdeck.gateway.agent_events import AgentEvents
from quarterdeck.gateway.connection import Connection, ConnectionLost
from quarterdeck.gateway.credit import Credit
from quarterdeck.gateway.guest_lists import GuestLists
from quarterdeck.gateway.link import LinkParts, LinkTable, Reception, ServedLink
from quarterdeck.gateway.link_metrics import LinkMetrics
from quarterdeck.gateway.link_records import LinkRecords
from quarterdeck.gateway.native import NativeReception
from quarterdeck.gateway.opening import Opening
from quarterdeck.gateway.orders_in import OrdersIn
from quarterdeck.gateway.progress import ProgressBoard
from quarterdeck.gateway.reports_out import ReportPublisher
from quarterdeck.gateway.settings import GatewaySettings
from quarterdeck.wire.codes import GoodbyeReason

log = structlog.get_logger()

_FINISH_S: Final = 5.0
"""How long what agents said may take to reach the bus once they are gone."""


class Gateway:
    def __init__(self, registry: Registry, clock: Clock, tasks: TaskSet, settings: GatewaySettings) -> None:
        """`tasks`: a crash of one of them is the process's; crashes of links are not among them."""
        self._registry = registry
        self._clock = clock
        self._settings = settings
        self._tasks = tasks
        self._reports = ReportPublisher(registry.bus, settings, tasks)
        self._links = LinkTable()
        self.events = AgentEvents(registry.bus, tasks)
        """Of agents, on the feed. For those who admit them, too."""
        self._records = LinkRecords(registry, clock, settings, tasks, self.events)
        self._orders = OrdersIn(registry.bus, settings.gateway_id, self._links)
        self._native = NativeReception(Opening(registry, clock, tasks, settings.gateway_id))
        self._progress = ProgressBoard(self._reports, clock, settings)
        self._parts = LinkParts(
            bus=registry.bus,
            clock=clock,
            settings=settings,
            reports=self._reports,
            credit=Credit(settings),
            progress=self._progress,
            metrics=LinkMetrics(settings.carrier),
            guests=GuestLists(registry, clock, tasks, self._links, self.events),
        )
        self._settling: set[asyncio.Task[None]] = set()
        self._draining = False

    @property
    def links(self) -> LinkTable:
        """For tests and metrics."""
        return self._links

    async def start(self) -> None:
        """Ready for connections when it returns. Waits for the bus if need be."""
        self._registry.links.on_change(self._on_link_record)
        self._registry.agents.on_change(self._on_agent_record)
        await asyncio.gather(self._registry.links.watch(), self._registry.agents.watch())
        await self._orders.start()
        await self._records.start()
        self._tasks.spawn(self._sweep(), "link_sweep")
        log.info("gateway.started", gateway_id=self._settings.gateway_id, carrier=self._settings.carrier)

    async def serve(self, connection: Connection, reception: Reception | None = None) -> None:
        """One connection, from its first frame to its end. Raises nothing but CancelledError; closes `connection`.

        `reception`: of the protocol that it speaks; None: our own.
        """
        reception = reception or self._native
        link: ServedLink | None = None
        end = LinkEnd.CLOSED
        try:
            async with asyncio.timeout(self._settings.opening_timeout_s):
                link = await self._open(connection, reception)
            end = await link.run()
        except LinkRefused as refusal:
            end = _link_end(refusal.reason)
            await self._refuse(connection, reception, link, refusal)
        except DecodeError as error:
            end = LinkEnd.UNDECODABLE
            await self._refuse(connection, reception, link, LinkRefused(end, error.message))
        except ConnectionLost as lost:
            log.info("gateway.connection_lost", peer=connection.peer, cause=lost.cause)
        except TimeoutError:
            log.info("gateway.opening_timed_out", peer=connection.peer)
        except (Unavailable, BusError) as error:
            away = LinkRefused(GoodbyeReason.UNAVAILABLE, error.message)
            await self._refuse(connection, reception, link, away)
        except Exception:
            # S1-4: a crash in one link is caught, logged with its stack, and ends only that link.
            log.exception(
                "gateway.link_crashed", peer=connection.peer, agent_id=link.agent_id if link else None
            )
        finally:
            if link is not None:
                self._retire(link, end)
            await connection.close(end)

    async def drain(self) -> None:
        """Ask agents to leave, wait for them a while, close the rest, and put everything said on the bus."""
        self._draining = True
        self._orders.drain()
        await self._records.drain()
        for link in self._links:
            link.drain(self._settings.drain_ms)
        await self._wait_for_links(self._settings.drain_ms / 1000)
        for link in self._links:
            link.end(LinkEnd.DRAINING)
        await self._wait_for_links(self._settings.goodbye_timeout_s * 2)
        await self._orders.stop()
        try:
            async with asyncio.timeout(_FINISH_S):
                if self._settling:
                    await asyncio.wait(self._settling)
                await self._reports.idle()
                await self._records.finish()
        except (TimeoutError, Unavailable, BusError) as error:
            log.warning("gateway.left_unfinished", error=repr(error))
        self._progress.close()

    async def _open(self, connection: Connection, reception: Reception) -> ServedLink:
        if self._draining:
            raise LinkRefused(LinkEnd.DRAINING, "this gateway is going away")
        link = await reception.open(connection, self._parts)
        # In the table before its record is: a dispatcher that reads the record at once finds the link here.
        self._links.add(link)
        self._parts.metrics.came(link.dialect)
        try:
            if self._revoked_meanwhile(link):
                raise LinkRefused(LinkEnd.REVOKED, "this agent was revoked")
            await self._admit(link, connection)
        except BaseException:
            self._retire(link, LinkEnd.CLOSED)
            raise
        return link

    def _revoked_meanwhile(self, link: ServedLink) -> bool:
        """We may have heard of it when there was no link to end. Our copy may also be older than what was proved."""
        entry = self._registry.agents.current.get(agent_key(link.tenant, link.agent_id))
        return (
            entry is not None
            and entry.value.revoked
            and entry.value.enrolled_at_ms >= link.record.enrolled_at_ms
        )

    async def _admit(self, link: ServedLink, connection: Connection) -> None:
        epoch = await self._records.connected(link, link.record)
        if link.highest_epoch is not None and link.highest_epoch >= epoch:
            # The bucket was restored from an older copy: the agent refuses us until its revision has caught up.
            log.error("gateway.epoch_behind", agent_id=link.agent_id, epoch=str(epoch))
        link.welcome(epoch, self._parts.credit.share_bytes(len(self._links)))
        log.info(
            "gateway.agent_connected",
            tenant=link.tenant,
            agent_id=link.agent_id,
            epoch=str(epoch),
            peer=connection.peer,
            dialect=link.dialect,
            version=link.record.version,
        )

    def _retire(self, link: ServedLink, end: LinkEnd) -> None:
        """Synchronous: a carrier may cancel `serve` at any await, and a link must never be left half over."""
        if self._draining and end is LinkEnd.CLOSED:
            end = LinkEnd.DRAINING  # it went because we asked it to, and is expected back
        self._links.remove(link)
        link.retire()
        settling = self._tasks.spawn(link.settle(), "link_settling")
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        self._records.disconnected(link, end)
        age_s = (self._clock.now_ms() - link.since_ms) / 1000
        self._parts.metrics.ended(link.dialect, end, age_s)
        log.info(
            "gateway.agent_disconnected", tenant=link.tenant, agent_id=link.agent_id, end=end, age_s=age_s
        )

    async def _refuse(
        self, connection: Connection, reception: Reception, link: ServedLink | None, refusal: LinkRefused
    ) -> None:
        """Say why, if the peer still listens."""
        log.warning(
            "gateway.link_refused",
            peer=connection.peer,
            agent_id=link.agent_id if link is not None else None,
            reason=refusal.reason,
            detail=refusal.message,
        )
        if refusal.reason == LinkEnd.UNDECODABLE:
            self._parts.metrics.undecodable_frames.inc()
        if link is not None:
            link.retire()  # its sender must not write between our words
        try:
            async with asyncio.timeout(self._settings.goodbye_timeout_s):
                if link is None:
                    await reception.refuse(connection, refusal.reason, refusal.message)
                else:
                    await link.last_words(refusal.reason, refusal.message)
        except (ConnectionLost, TimeoutError):
            pass  # it left without asking

    def _on_link_record(self, key: str, entry: Entry[LinkRecord] | None) -> None:
        """A record that moved on past one of our links: the agent is elsewhere, or the bucket was made anew."""
        link = self._links.find(*parse_agent_key(key))
        if link is None or link.epoch is None:
            return
        if entry is None:
            link.end(LinkEnd.CLOSED)
        elif entry.revision > link.epoch.revision:
            link.end(LinkEnd.REPLACED)

    def _on_agent_record(self, key: str, entry: Entry[AgentRecord] | None) -> None:
        if entry is None or entry.value.revoked:
            link = self._links.find(*parse_agent_key(key))
            if link is not None:
                link.end(LinkEnd.REVOKED)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._settings.sweep_interval_s)
            for link in self._links:
                link.check_silence()

    async def _wait_for_links(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._links.empty.wait()
        except TimeoutError:
            log.info("gateway.links_outstayed", links=len(self._links))


def _link_end(reason: str) -> LinkEnd:
    """What the link's record says; reasons of the opening have no record."""
    try:
        return LinkEnd(reason)
    except ValueError:
        return LinkEnd.CLOSED
