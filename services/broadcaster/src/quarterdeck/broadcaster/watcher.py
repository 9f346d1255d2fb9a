"""One client's event stream over HTTP: what comes first, then what is told, then the end. An ASGI response.

Called by the routes with a place in a hub; gives it up however the stream ends.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import structlog
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from quarterdeck.broadcaster.handlers import frames
from quarterdeck.broadcaster.handlers.frames import Format, Variant
from quarterdeck.broadcaster.handlers.openings import Prologue
from quarterdeck.broadcaster.telling import Place, Telling
from quarterdeck.core import metrics
from quarterdeck.web.leaving import while_connected
from quarterdeck.web.stalling import ClientStalled, send_within
from quarterdeck.web.watch import EVENT_STREAM, NDJSON

log = structlog.get_logger()

_RETRY_MS: Final = 1_000
_MEDIA_TYPES: Final = {Format.SSE: EVENT_STREAM, Format.NDJSON: NDJSON}


class EventStream(ASGIResponse):
    """`prologue`: JSON of the snapshot; empty when the opening has none."""

    def __init__(self, place: Place, variant: Variant, prologue: bytes, stall_s: float) -> None:
        self._place = place
        self._variant = variant
        self._prologue = prologue
        self._stall_s = stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        metrics.WATCHERS.inc()
        try:
            await while_connected(receive, self._send_all(scope, send))
        except ClientStalled:
            metrics.WATCHERS_CUT.inc()
            log.info("broadcaster.watcher_cut", scope=self._place.scope.kind)
        finally:
            metrics.WATCHERS.dec()
            self._place.leave()

    async def _send_all(self, scope: Scope, send: Send) -> None:
        headers = [
            (b"content-type", _MEDIA_TYPES[self._variant.format].encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # or nginx keeps events to itself
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                message = {"type": "http.response.body", "body": piece, "more_body": True}
                await send_within(scope, send, message, self._stall_s)  # type: ignore[arg-type]
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        variant = self._variant
        yield self._first()
        telling = Telling(self._place, variant)
        async with aclosing(telling.pieces()) as pieces:
            async for piece in pieces:
                yield piece or frames.comment(variant, "still here")
        if telling.over:
            yield frames.frame(variant, frames.END, self._place.hub.ending.farewell)
        else:
            yield frames.comment(variant, "come back")

    def _first(self) -> bytes:
        variant, opening = self._variant, self._place.opening
        first = frames.retry(variant, _RETRY_MS) or frames.comment(variant, "")
        if opening.prologue is Prologue.NOTHING:
            return first
        # A resync has an id: whoever loses the connection right after it must not be told to start over again.
        sequence = opening.after if opening.prologue is Prologue.RESYNC else None
        return first + frames.frame(variant, opening.prologue, self._prologue, sequence)
