"""One reader of the feed per watched scope, shared by its watchers, for as long as it has any.

The reader keeps pace with the fastest watcher that reads from the ring, never with the slowest: who falls behind reads
the log itself, and who stops reading altogether is cut off by the route. Nobody delays anybody.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from quarterdeck.broadcaster.ending import Ending
from quarterdeck.broadcaster.handlers.scopes import Scope
from quarterdeck.broadcaster.log_reader import LogReader
from quarterdeck.broadcaster.ring import BLOCK_BYTES, Ring
from quarterdeck.contracts.errors import QuarterdeckError
from quarterdeck.contracts.limits import MAX_MESSAGE_BYTES
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus
from quarterdeck.core.bus.errors import StreamReplaced

log = structlog.get_logger()

_BATCH: Final = 500
_PULL_BYTES: Final = MAX_MESSAGE_BYTES + 64 * 1024
"""Must hold the largest message, headers included. Read ahead of the ring, per watched scope: two of these at most."""
_ALL_RINGS_BYTES: Final = 64 * 1024 * 1024
"""What the rings of all watched scopes may hold together, before encoding."""


class Position:
    """How far one watcher has read. `on_ring`: it takes from the ring and not from the log."""

    __slots__ = ("after", "on_ring")

    def __init__(self, after: int) -> None:
        self.after = after
        self.on_ring = False


class Hub:
    """Use through Hubs."""

    def __init__(self, bus: Bus, scope: Scope, *, after: int, ring_bytes: Callable[[], int]) -> None:
        """`ring_bytes`: how large the ring may be now."""
        self._bus = bus
        self._scope = scope
        self._ring_bytes = ring_bytes
        self._waiting: set[asyncio.Future[None]] = set()
        self._progress = asyncio.Event()
        self.positions: set[Position] = set()
        self.ring = Ring(after)
        self.ending = Ending(bus, scope, from_start=after == 0, on_known=self.wake)
        self.broken = False
        """The feed that the positions are of is gone, or cannot be read: watchers must come back."""
        self._task = asyncio.create_task(self._run(after), name="hub")

    def over(self, after: int) -> bool:
        """The scope has ended, and a watcher at `after` has seen all of it."""
        return self.ending.at is not None and after >= self.ending.at

    async def news(self) -> None:
        """Returns when there may be something new, or it is time for a comment."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def wake(self) -> None:
        """Everybody who waits for news looks."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def progressed(self) -> None:
        """A watcher took something from the ring, or left it."""
        self._progress.set()

    async def close(self) -> None:
        self.ending.close()
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self, after: int) -> None:
        try:
            reading = self._bus.read(
                FEED,
                self._scope.filters,
                start_sequence=after + 1,
                follow=True,
                batch=_BATCH,
                pull_bytes=_PULL_BYTES,
            )
            async for messages in reading:
                self.ring.append(messages)
                self.wake()
                await self.ending.observe(messages)
                await self._make_room()
        except StreamReplaced:
            log.info("broadcaster.feed_replaced", scope=self._scope.kind)
        except QuarterdeckError as error:
            log.warning("broadcaster.hub_interrupted", scope=self._scope.kind, reason=error.message)
        finally:
            self.broken = True
            self.wake()

    async def _make_room(self) -> None:
        """Drops what the fastest watcher on the ring has taken; waits for it where it has not."""
        while self.ring.size_bytes > self._ring_bytes() and (oldest := self.ring.oldest_last) is not None:
            fastest = max((position.after for position in self.positions if position.on_ring), default=None)
            if fastest is None or fastest >= oldest:
                self.ring.drop_oldest()
            else:
                self._progress.clear()
                await self._progress.wait()


class Hubs:
    """All hubs of this process. `keep_alive_s`: how often everybody who waits is woken for a comment."""

    def __init__(self, bus: Bus, *, ring_bytes: int, keep_alive_s: float) -> None:
        self._bus = bus
        self._ring_bytes = ring_bytes
        self._keep_alive_s = keep_alive_s
        self.log = LogReader(bus)
        self._hubs: dict[Scope, Hub] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.stopping = False
        """No stream goes on: watchers say goodbye."""
        self.ticks = 0
        """Counts the times for a comment."""
        self._ticker = asyncio.create_task(self._tick(), name="hub-ticker")

    def join(self, scope: Scope, after: int) -> tuple[Hub, Position]:
        """The scope's hub, opened at `after` if there is none, and a position in it that `leave` gives up."""
        hub = self._hubs.get(scope)
        if hub is None or hub.broken:
            hub = self._hubs[scope] = Hub(self._bus, scope, after=after, ring_bytes=self._share_bytes)
        position = Position(after)
        position.on_ring = after >= hub.ring.held_after
        hub.positions.add(position)
        return hub, position

    def leave(self, scope: Scope, hub: Hub, position: Position) -> None:
        """The last one out closes the reader."""
        hub.positions.discard(position)
        hub.progressed()
        if not hub.positions:
            if self._hubs.get(scope) is hub:
                del self._hubs[scope]
            closing = asyncio.create_task(hub.close(), name="hub-close")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def stop(self) -> None:
        """Every watcher says goodbye and ends."""
        self.stopping = True
        for hub in self._hubs.values():
            hub.wake()

    async def close(self) -> None:
        self._ticker.cancel()
        await asyncio.wait([self._ticker])
        for hub in tuple(self._hubs.values()):
            await hub.close()
        if self._closing:
            await asyncio.wait(self._closing)

    def _share_bytes(self) -> int:
        """What one ring may hold: the more scopes are watched, the less, so that all together stay bounded."""
        return max(BLOCK_BYTES, min(self._ring_bytes, _ALL_RINGS_BYTES // max(len(self._hubs), 1)))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._keep_alive_s)
            self.ticks += 1
            for hub in self._hubs.values():
                hub.wake()
