"""The WebSocket path: who may, which batch, from where; then a session until one side has enough.

Refusals are said over the open connection, as the gate says them: an ERROR message, then a close code.
"""

from typing import Any

import msgspec
import structlog
from litestar import WebSocket, get, websocket
from litestar.types import ControllerRouterHandler

from quarterdeck.broadcaster.handlers.scopes import Scope
from quarterdeck.broadcaster.hub import Hubs
from quarterdeck.broadcaster.operations import OPERATIONS
from quarterdeck.broadcaster.socket_session import Close, SocketParts, SocketSession
from quarterdeck.broadcaster.telling import Place, Wish, take_place
from quarterdeck.contracts.errors import NotFound, QuarterdeckError
from quarterdeck.contracts.states import BATCH_TERMINAL
from quarterdeck.core import metrics
from quarterdeck.core.bus import Bus
from quarterdeck.web.decoding import decode_query
from quarterdeck.web.errors import UpgradeRequired
from quarterdeck.web.paths import checked_id
from quarterdeck.web.problems import problem_of
from quarterdeck.web.sockets import Socket
from quarterdeck.web.stalling import ClientStalled
from quarterdeck.web.tokens import Principal
from quarterdeck.web.watch import BATCH_SOCKET_PATH

log = structlog.get_logger()

BatchSocket = WebSocket[Principal, None, Any]
"""Behind the gate: `user` is there."""


class SocketQuery(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"begin": "from"}
):
    begin: str | None = None
    """`now` leaves out the output that was before."""
    last_event_id: str | None = None
    ticket: str | None = None
    """Was redeemed at the gate."""


def socket_routes(bus: Bus, hubs: Hubs, parts: SocketParts, stall_s: float) -> list[ControllerRouterHandler]:
    async def enter(socket: BatchSocket) -> Place:
        """Raises NotAuthorised, NotFound, InvalidInput and its kin, Unavailable."""
        principal = socket.user
        OPERATIONS.permit("GET", BATCH_SOCKET_PATH, principal)
        batch_id = checked_id(socket.path_params["batch_command_id"], "batch_command_id")
        query = decode_query(socket.scope["query_string"], SocketQuery)
        view = await parts.store.batch(principal.tenant, batch_id)
        if view is None:
            raise NotFound("batch_command_id: no such batch", field="batch_command_id")
        wish = Wish(
            scope=Scope.of_batch(principal.tenant, batch_id),
            last_event_id=query.last_event_id,
            begin=query.begin,
            ended=view.state in BATCH_TERMINAL,
        )
        return await take_place(bus, hubs, wish)

    async def serve(socket: Socket, principal: Principal, place: Place) -> None:
        metrics.WATCHERS.inc()
        try:
            await SocketSession(socket, principal, place, parts).run()
        except Close as end:
            await socket.close(end.code, end.reason)
        except ClientStalled:
            metrics.WATCHERS_CUT.inc()
            log.info("broadcaster.watcher_cut", scope=place.scope.kind)
        except OSError:
            pass  # the client left while it was told something
        finally:
            metrics.WATCHERS.dec()
            place.leave()

    @websocket(BATCH_SOCKET_PATH.replace("}", ":str}"))
    async def batch_socket(socket: BatchSocket) -> None:
        wire = Socket(socket.scope, socket.receive, socket.send, stall_s=stall_s)
        await wire.accept()
        try:
            await serve(wire, socket.user, await enter(socket))
        except QuarterdeckError as error:
            await wire.refuse(problem_of(error))
        except Exception:
            log.exception("broadcaster.socket_failed")
            await wire.refuse(problem_of(QuarterdeckError("")))

    @get(BATCH_SOCKET_PATH.replace("}", ":str}"))
    async def plain_request() -> None:
        raise UpgradeRequired

    return [batch_socket, plain_request]
