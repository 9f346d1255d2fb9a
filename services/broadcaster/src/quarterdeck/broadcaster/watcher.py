"""One client's stream: what comes first, then the ring or the log, then the end. An ASGI response.

Owns the client's position. Called by the routes with a hub that it has joined; leaves it however the stream ends.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import msgspec
import structlog
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Send
from litestar.types import Scope as AsgiScope

from quarterdeck.broadcaster.handlers import frames
from quarterdeck.broadcaster.handlers.frames import Format, Variant
from quarterdeck.broadcaster.handlers.openings import Opening, Prologue
from quarterdeck.broadcaster.handlers.scopes import Scope
from quarterdeck.broadcaster.hub import Hub, Hubs, Position
from quarterdeck.broadcaster.ring import BLOCK_BYTES
from quarterdeck.core import metrics
from quarterdeck.web.leaving import while_connected
from quarterdeck.web.stalling import ClientStalled, send_within
from quarterdeck.web.watch import EVENT_STREAM, NDJSON

log = structlog.get_logger()

_RETRY_MS: Final = 1_000
_MEDIA_TYPES: Final = {Format.SSE: EVENT_STREAM, Format.NDJSON: NDJSON}


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What one request came to."""

    scope: Scope
    opening: Opening
    variant: Variant
    prologue: bytes
    """JSON of the snapshot; empty when the opening has none."""
    stall_s: float


class EventStream(ASGIResponse):
    def __init__(self, hubs: Hubs, hub: Hub, position: Position, watch: Watch) -> None:
        self._hubs = hubs
        self._hub = hub
        self._position = position
        self._watch = watch

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        metrics.WATCHERS.inc()
        try:
            await while_connected(receive, self._send_all(scope, send))
        except ClientStalled:
            metrics.WATCHERS_CUT.inc()
            log.info("broadcaster.watcher_cut", scope=self._watch.scope.kind)
        finally:
            metrics.WATCHERS.dec()
            self._hubs.leave(self._watch.scope, self._hub, self._position)

    async def _send_all(self, scope: AsgiScope, send: Send) -> None:
        headers = [
            (b"content-type", _MEDIA_TYPES[self._watch.variant.format].encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # or nginx keeps events to itself
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                message = {"type": "http.response.body", "body": piece, "more_body": True}
                await send_within(scope, send, message, self._watch.stall_s)  # type: ignore[arg-type]
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        """Bytes to write, each as one write. Every turn of the loop waits for something: a write, news, or the log."""
        variant, position, hub = self._watch.variant, self._position, self._hub
        yield self._first()
        ticks = self._hubs.ticks
        while not self._hubs.stopping and not hub.broken:
            if position.after < hub.ring.held_after:
                position.on_ring = False
                hub.progressed()
                async for piece in self._from_log():
                    yield piece
            elif piece := self._from_ring():
                yield piece
            elif hub.over(position.after):
                yield frames.frame(variant, frames.END, hub.ending.farewell)
                return
            elif hub.ring.position <= position.after:
                if ticks != self._hubs.ticks:
                    ticks = self._hubs.ticks
                    yield frames.comment(variant, "still here")
                await hub.news()
        yield frames.comment(variant, "come back")

    def _first(self) -> bytes:
        variant, opening = self._watch.variant, self._watch.opening
        first = frames.retry(variant, _RETRY_MS) or frames.comment(variant, "")
        if opening.prologue is Prologue.NOTHING:
            return first
        # A resync has an id: whoever loses the connection right after it must not be told to start over again.
        sequence = opening.after if opening.prologue is Prologue.RESYNC else None
        return first + frames.frame(variant, opening.prologue, self._watch.prologue, sequence)

    def _from_ring(self) -> bytes:
        """All that is new, up to about one block; empty when there is nothing to show."""
        position = self._position
        position.on_ring = True
        pieces = []
        size_bytes = 0
        for block in self._hub.ring.after(position.after):
            piece = block.encoded(self._watch.variant, position.after)
            position.after = block.last
            pieces.append(piece)
            size_bytes += len(piece)
            if size_bytes >= BLOCK_BYTES:
                break
        if pieces:
            self._hub.progressed()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _from_log(self) -> AsyncGenerator[bytes, None]:
        """What the ring no longer has, until it is within reach."""
        position, ring = self._position, self._hub.ring
        while position.after < ring.held_after:
            target = ring.position
            messages = await self._hubs.log.after(position.after, self._watch.scope.filters)
            if not messages:
                # The log was read to its end, which is not before what the ring had read when we began.
                position.after = max(position.after, target)
                return
            position.after = messages[-1].sequence
            piece = frames.encode(messages, self._watch.variant)
            del messages  # a client that stalls now keeps its piece and nothing more
            if piece:
                yield piece
