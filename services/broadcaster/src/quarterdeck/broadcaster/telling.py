"""What one watcher is told of its scope: from the ring, or from the log when it fell off, until the scope is over.

Owns the watcher's place in the hub, and knows no transport. Used by watcher.py and socket_session.py, which must
`leave` however they end.
"""

from collections.abc import AsyncGenerator

import msgspec

from quarterdeck.broadcaster.handlers import frames
from quarterdeck.broadcaster.handlers.frames import Variant
from quarterdeck.broadcaster.handlers.openings import Opening, Prologue, open_at
from quarterdeck.broadcaster.handlers.scopes import Scope
from quarterdeck.broadcaster.hub import Hub, Hubs, Position
from quarterdeck.broadcaster.ring import BLOCK_BYTES
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Where a watcher asks to begin."""

    scope: Scope
    last_event_id: str | None
    begin: str | None
    """`now`, `start`, or None for the scope's own way."""
    ended: bool = False
    """The store says that the scope is over."""


class Place:
    """In a hub, taken by `take_place`. `incarnation`: of the feed that positions are of."""

    def __init__(self, hubs: Hubs, scope: Scope, opening: Opening, incarnation: int) -> None:
        self.scope = scope
        self.opening = opening
        self.incarnation = incarnation
        self.hubs = hubs
        hub, position = hubs.join(scope, opening.after)
        self.hub: Hub = hub
        self.position: Position = position

    @property
    def nothing_left(self) -> bool:
        """The watcher has all of a scope that is over."""
        return self.opening.prologue is Prologue.NOTHING and self.hub.over(self.position.after)

    def leave(self) -> None:
        self.hubs.leave(self.scope, self.hub, self.position)


async def take_place(bus: Bus, hubs: Hubs, wish: Wish) -> Place:
    """Raises InvalidEventId, InvalidInput, Unavailable."""
    scope = wish.scope
    facts = await bus.stream_info(FEED)
    opening = open_at(scope, facts, last_event_id=wish.last_event_id, begin=wish.begin)
    end = await bus.last_message(FEED, scope.end_subject) if scope.end_subject else None
    place = Place(hubs, scope, opening, facts.created_ms)
    try:
        await place.hub.ending.learn(end)
        if wish.ended and end is None and facts.first_sequence > 1:
            await place.hub.ending.assume()
    except BaseException:
        place.leave()
        raise
    return place


class Telling:
    """`over`: all of the scope was told. If not, the service stops or the feed is gone: the watcher must come back."""

    def __init__(self, place: Place, variant: Variant) -> None:
        self._place = place
        self._variant = variant
        self.over = False

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Bytes to write; an empty piece when it is time for a sign of life.

        Every turn of the loop waits for something: a write, news, or the log.
        """
        hubs, hub, position = self._place.hubs, self._place.hub, self._place.position
        ticks = hubs.ticks
        while not hubs.stopping and not hub.broken:
            if position.after < hub.ring.held_after:
                position.on_ring = False
                hub.progressed()
                async for piece in self._from_log():
                    yield piece
            elif piece := self._from_ring():
                yield piece
            elif hub.over(position.after):
                self.over = True
                return
            elif hub.ring.position <= position.after:
                if ticks != hubs.ticks:
                    ticks = hubs.ticks
                    yield b""
                await hub.news()

    def _from_ring(self) -> bytes:
        """All that is new, up to about one block; empty when there is nothing to show."""
        hub, position = self._place.hub, self._place.position
        position.on_ring = True
        pieces = []
        size_bytes = 0
        for block in hub.ring.after(position.after):
            piece = block.encoded(self._variant, position.after)
            position.after = block.last
            pieces.append(piece)
            size_bytes += len(piece)
            if size_bytes >= BLOCK_BYTES:
                break
        if pieces:
            hub.progressed()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _from_log(self) -> AsyncGenerator[bytes, None]:
        """What the ring no longer has, until it is within reach."""
        position, ring = self._place.position, self._place.hub.ring
        while position.after < ring.held_after:
            target = ring.position
            messages = await self._place.hubs.log.after(position.after, self._place.scope.filters)
            if not messages:
                # The log was read to its end, which is not before what the ring had read when we began.
                position.after = max(position.after, target)
                return
            position.after = messages[-1].sequence
            piece = frames.encode(messages, self._variant)
            del messages  # a client that stalls now keeps its piece and nothing more
            if piece:
                yield piece
