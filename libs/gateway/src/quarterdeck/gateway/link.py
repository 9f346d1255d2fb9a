"""A link as everything behind the gateway sees it, whatever protocol the agent speaks, and the table of all of them.

Another dialect is another class with these methods; orders, presence and draining know no more than this.
"""

import asyncio
from collections.abc import Iterator
from typing import Protocol

import msgspec

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.links import Epoch, LinkEnd
from quarterdeck.contracts.orders import GatewayOrder, OrderAnswer, TerminateItem
from quarterdeck.core.bus import Bus
from quarterdeck.core.clock import Clock
from quarterdeck.gateway.connection import Connection
from quarterdeck.gateway.credit import Credit
from quarterdeck.gateway.link_metrics import LinkMetrics
from quarterdeck.gateway.messages import OrderSheet
from quarterdeck.gateway.progress import ProgressBoard
from quarterdeck.gateway.reports_out import ReportPublisher
from quarterdeck.gateway.settings import GatewaySettings


class GuestListener(Protocol):
    """Whoever keeps what agents say of their guests; guest_lists.GuestLists."""

    def announced(self, link: "Link", guests: tuple[str, ...]) -> None: ...


class LinkParts(msgspec.Struct, frozen=True, kw_only=True):
    """What all links of a gateway share."""

    bus: Bus
    clock: Clock
    settings: GatewaySettings
    reports: ReportPublisher
    credit: Credit
    progress: ProgressBoard
    metrics: LinkMetrics
    guests: GuestListener


class Link(Protocol):
    """One agent's link on this gateway. No method waits for the wire."""

    tenant: str
    agent_id: str
    dialect: str
    epoch: Epoch | None
    """None until the link's record is stored."""
    since_ms: int

    def offer(self, sheet: OrderSheet, order: GatewayOrder) -> OrderAnswer:
        """Queue an order. After `queued` it is either written or comes back as a `returned` report."""
        ...

    def terminate(self, item: TerminateItem) -> OrderAnswer: ...

    def drain(self, within_ms: int) -> None:
        """Ask the agent to go elsewhere."""
        ...

    def end(self, reason: LinkEnd) -> None:
        """Tell the agent why, then close. The first reason counts."""
        ...

    def check_silence(self) -> None:
        """End the link when the agent has not spoken, or not read, for too long."""
        ...


class ServedLink(Link, Protocol):
    """A link as the gateway that serves it sees it."""

    @property
    def record(self) -> AgentRecord:
        """Who it is, proved."""
        ...

    @property
    def highest_epoch(self) -> Epoch | None:
        """The highest that the agent has seen, if its protocol knows of epochs."""
        ...

    def welcome(self, epoch: Epoch, window_bytes: int) -> None:
        """The link's record is stored: orders go out from now on."""
        ...

    async def run(self) -> LinkEnd:
        """Serve the link until it ends; why it did. Raises what broke it: ConnectionLost, LinkRefused, or a crash."""
        ...

    def retire(self) -> None:
        """The link is over: give back the orders that were never written. Waits for nothing."""
        ...

    async def settle(self) -> None:
        """After `retire`: returns when what the agent said, and cannot say again, is stored."""
        ...

    async def last_words(self, reason: str, text: str) -> None:
        """Why the link ends, in the agent's protocol. Raises ConnectionLost."""
        ...


class Reception(Protocol):
    """How a connection of one protocol becomes a link."""

    async def open(self, connection: Connection, parts: LinkParts) -> ServedLink:
        """Raises LinkRefused, ConnectionLost, DecodeError, Unavailable."""
        ...

    async def refuse(self, connection: Connection, reason: str, text: str) -> None:
        """Say why no link came of it, if that was not said already. Raises ConnectionLost."""
        ...


class LinkTable:
    """The links of this gateway, at most one per agent."""

    def __init__(self) -> None:
        self._links: dict[tuple[str, str], Link] = {}
        self.empty = asyncio.Event()
        self.empty.set()

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[Link]:
        """A snapshot: links may come and go while the caller walks over it."""
        return iter(list(self._links.values()))

    def find(self, tenant: str, agent_id: str) -> Link | None:
        return self._links.get((tenant, agent_id))

    def add(self, link: Link) -> None:
        """A newer link of an agent replaces the older one."""
        older = self._links.get((link.tenant, link.agent_id))
        self._links[link.tenant, link.agent_id] = link
        self.empty.clear()
        if older is not None:
            older.end(LinkEnd.REPLACED)

    def remove(self, link: Link) -> None:
        """Nothing happens when another link has taken its place."""
        if self._links.get((link.tenant, link.agent_id)) is link:
            del self._links[link.tenant, link.agent_id]
            if not self._links:
                self.empty.set()
