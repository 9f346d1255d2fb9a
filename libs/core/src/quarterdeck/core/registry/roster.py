"""Which agent has which link now: what dispatcher and api ask before they hand anything over.

Owns the reading of link records and gateway leases; writes nothing. `Presence` is the pure part, fed with changes and a
clock; `LinkRoster` keeps it fed from the registry.

Leases are timed from when we heard of them, not by the gateway's clock, so clocks may differ. Silence that is our own
fault (NATS away, this process frozen) expires nobody.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from quarterdeck.contracts.limits import SETTLE_MS
from quarterdeck.contracts.links import LEASE_MS, Epoch, GatewayLease, LinkEnd, LinkRecord
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry.keys import gateway_key, link_key, parse_agent_key
from quarterdeck.core.registry.registry import Registry
from quarterdeck.core.registry.table import Entry

log = structlog.get_logger()

OnLink = Callable[[str, str], None]
"""`(tenant, agent_id)`: this agent has a new link."""

_TICK_MS: Final = 1_000
_FROZEN_MS: Final = 3_000
"""Ticks further apart than this mean that we did not run, and heard nothing meanwhile."""
_SKEW_MS: Final = 30_000
"""How far apart two machines' clocks may be before a fresh lease looks like one of a former life."""
_OUR_DOING: Final = frozenset({LinkEnd.DRAINING, LinkEnd.REPLACED})
"""Ends after which the agent is expected back."""


class Found(msgspec.Struct, frozen=True):
    """A live link. Orders carry `epoch`; the gateway refuses them when it has changed."""

    record: LinkRecord
    epoch: Epoch
    draining: bool = False
    """Its gateway is stopping: the agent will soon be elsewhere."""

    @property
    def gateway_id(self) -> str:
        return self.record.gateway_id


class Recently(msgspec.Struct, frozen=True):
    """No link, but it may be back in a moment. After `settles_in_ms` without one it counts as gone."""

    lost_at_ms: int
    settles_in_ms: int


class Gone(msgspec.Struct, frozen=True):
    """No link for SETTLE_MS or longer; None: never seen."""

    lost_at_ms: int | None


class _Lease(msgspec.Struct):
    heard_at_ms: int
    draining: bool
    removed_at_ms: int | None = None


class Presence:
    """Links and leases as last heard."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._links: dict[str, Entry[LinkRecord]] = {}
        self._leases: dict[str, _Lease] = {}
        self._listening_since_ms = clock.now_ms()
        self._last_tick_ms = clock.now_ms()
        self.incarnation = 0
        """Of the link bucket; part of every epoch."""

    def link_changed(self, key: str, entry: Entry[LinkRecord] | None) -> bool:
        """Take in a change. True when it is a link that lives."""
        if entry is None:
            self._links.pop(key, None)
            return False
        self._links[key] = entry
        return entry.value.ended_at_ms is None

    def lease_changed(self, gateway_id: str, entry: Entry[GatewayLease] | None) -> None:
        now_ms = self._clock.now_ms()
        if entry is not None:
            self._leases[gateway_id] = lease = _Lease(now_ms, entry.value.draining)
            if now_ms - entry.at_ms > LEASE_MS + _SKEW_MS:  # found at start, written long ago
                lease.removed_at_ms = entry.at_ms + LEASE_MS
        elif gateway_id in self._leases:
            self._leases[gateway_id].removed_at_ms = now_ms

    def tick(self) -> None:
        """To be called every second or so; notices when that did not happen."""
        now_ms = self._clock.now_ms()
        if now_ms - self._last_tick_ms > _FROZEN_MS:
            self.resume()
        self._last_tick_ms = now_ms

    def resume(self) -> None:
        """We were deaf until now: nobody's lease may run out on silence of before."""
        self._listening_since_ms = self._clock.now_ms()

    def find(self, key: str) -> Found | Recently | Gone:
        """`key`: of `link_key`."""
        self.tick()
        entry = self._links.get(key)
        if entry is None:
            return Gone(None)
        record = entry.value
        if record.ended_at_ms is not None:
            return self._lost(record.ended_at_ms, comes_back=record.end in _OUR_DOING)
        lease = self._leases.get(gateway_key(record.gateway_id))
        expired_at_ms = self._expired_at_ms(lease)
        if expired_at_ms is not None:
            return self._lost(expired_at_ms, comes_back=True)
        return Found(record, Epoch(self.incarnation, entry.revision), lease is not None and lease.draining)

    def _expired_at_ms(self, lease: _Lease | None) -> int | None:
        """When the lease ended; None while it holds."""
        heard_at_ms = self._listening_since_ms
        if lease is not None:
            if lease.removed_at_ms is not None:
                return lease.removed_at_ms
            heard_at_ms = max(heard_at_ms, lease.heard_at_ms)
        ends_at_ms = heard_at_ms + LEASE_MS
        return ends_at_ms if self._clock.now_ms() >= ends_at_ms else None

    def _lost(self, lost_at_ms: int, *, comes_back: bool) -> Recently | Gone:
        """`comes_back`: an agent that lost its link through us had no chance to return before we listened."""
        settles_at_ms = (max(lost_at_ms, self._listening_since_ms) if comes_back else lost_at_ms) + SETTLE_MS
        left_ms = settles_at_ms - self._clock.now_ms()
        return Recently(lost_at_ms, left_ms) if left_ms > 0 else Gone(lost_at_ms)


class LinkRoster:
    """`Presence`, fed from the registry. Start it once; then `find` answers from memory."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._presence = Presence(clock)
        self._callbacks: list[OnLink] = []
        self._ticker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Watch links and leases. Returns when both are loaded."""
        self._registry.links.on_change(self._link_changed)
        self._registry.gateways.on_change(self._presence.lease_changed)
        self._registry.bus.on_reconnect(self._presence.resume)
        await self._registry.gateways.watch()
        await self._registry.links.watch()
        self._ticker = asyncio.create_task(self._tick(), name="roster-tick")

    async def close(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.wait([self._ticker])
            self._ticker = None

    def find(self, tenant: str, agent_id: str) -> Found | Recently | Gone:
        """The agent's link, from memory."""
        if not self._registry.bus.healthy:
            self._presence.resume()
        return self._presence.find(link_key(tenant, agent_id))

    def on_link(self, callback: OnLink) -> None:
        """Call `callback` when an agent has a new link, the ones loaded at start included."""
        self._callbacks.append(callback)

    def _link_changed(self, key: str, entry: Entry[LinkRecord] | None) -> None:
        self._presence.incarnation = self._registry.links.incarnation
        if self._presence.link_changed(key, entry):
            tenant, agent_id = parse_agent_key(key)
            for callback in self._callbacks:
                callback(tenant, agent_id)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_MS / 1000)
            self._presence.tick()
