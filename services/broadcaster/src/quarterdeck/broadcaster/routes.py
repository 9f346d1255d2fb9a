"""The three watch paths: find the scope, decide where the watcher begins, hand it to its stream."""

from typing import Annotated

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from msgspec import Meta

from quarterdeck.broadcaster.handlers.frames import Format, Variant
from quarterdeck.broadcaster.handlers.openings import Prologue
from quarterdeck.broadcaster.handlers.scopes import Scope
from quarterdeck.broadcaster.hub import Hubs
from quarterdeck.broadcaster.snapshots import snapshot
from quarterdeck.broadcaster.telling import Wish, take_place
from quarterdeck.broadcaster.watcher import EventStream
from quarterdeck.contracts.errors import NotFound
from quarterdeck.contracts.states import BATCH_TERMINAL, TERMINAL
from quarterdeck.core.bus import Bus
from quarterdeck.core.store import Store
from quarterdeck.web.answers import NoContent
from quarterdeck.web.decoding import decode_query
from quarterdeck.web.paths import WebRequest, path_id, query_of
from quarterdeck.web.watch import NDJSON

_Flag = Annotated[int, Meta(ge=0, le=1)]


class WatchQuery(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"begin": "from"}
):
    begin: str | None = None
    """`now` skips what was before, `start` does not."""
    output: _Flag = 1
    """0: events alone."""
    text: _Flag = 0
    """1: output that is valid UTF-8 comes as text."""
    last_event_id: str | None = None
    """As the header, for those who cannot set one."""
    ticket: str | None = None
    """Was redeemed at the gate."""


def watch_routes(bus: Bus, store: Store, hubs: Hubs, stall_s: float) -> list[HTTPRouteHandler]:
    async def watch(request: WebRequest, scope: Scope, *, ended: bool = False) -> ASGIResponse:
        query = decode_query(query_of(request), WatchQuery)
        last_event_id = request.headers.get("last-event-id") or query.last_event_id
        wish = Wish(scope=scope, last_event_id=last_event_id, begin=query.begin, ended=ended)
        place = await take_place(bus, hubs, wish)
        try:
            if place.nothing_left:
                place.leave()
                return NoContent()  # tells an EventSource to come back no more
            opening = place.opening
            prologue = (
                b""
                if opening.prologue is Prologue.NOTHING
                else await snapshot(store, scope, with_children=not opening.with_history)
            )
        except BaseException:
            place.leave()
            raise
        variant = Variant(_format(request), place.incarnation, query.text == 1, query.output == 1)
        return EventStream(place, variant, prologue, stall_s)

    @get("/api/command/{command_id:str}/events")
    async def watch_command(request: WebRequest) -> ASGIResponse:
        tenant, command_id = request.user.tenant, path_id(request, "command_id")
        view = await store.command(tenant, command_id)
        if view is None:
            raise NotFound("command_id: no such command", field="command_id")
        return await watch(
            request, Scope.of_command(tenant, view.batch_id, command_id), ended=view.state in TERMINAL
        )

    @get("/api/batch_commands/{batch_command_id:str}/events")
    async def watch_batch(request: WebRequest) -> ASGIResponse:
        tenant, batch_id = request.user.tenant, path_id(request, "batch_command_id")
        view = await store.batch(tenant, batch_id)
        if view is None:
            raise NotFound("batch_command_id: no such batch", field="batch_command_id")
        return await watch(request, Scope.of_batch(tenant, batch_id), ended=view.state in BATCH_TERMINAL)

    @get("/api/events")
    async def watch_tenant(request: WebRequest) -> ASGIResponse:
        return await watch(request, Scope.of_tenant(request.user.tenant))

    return [watch_command, watch_batch, watch_tenant]


def _format(request: WebRequest) -> Format:
    return Format.NDJSON if NDJSON in request.headers.get("accept", "") else Format.SSE
