"""The life of the broadcaster: hubs and server, and at the end every stream told to come back elsewhere."""

from typing import ClassVar, Final

import structlog

from quarterdeck.broadcaster.hub import Hubs
from quarterdeck.broadcaster.names import Names
from quarterdeck.broadcaster.operations import OPERATIONS
from quarterdeck.broadcaster.routes import watch_routes
from quarterdeck.broadcaster.settings import BroadcasterSettings
from quarterdeck.broadcaster.socket_session import SocketParts
from quarterdeck.broadcaster.sockets import socket_routes
from quarterdeck.core.halts import Halts
from quarterdeck.core.outbox import Relay
from quarterdeck.core.runtime import ServiceContext, Wants
from quarterdeck.web.application import build
from quarterdeck.web.gate import Gate
from quarterdeck.web.health import health_routes
from quarterdeck.web.problems import problem_for_path
from quarterdeck.web.server import HttpServer, HttpSettings
from quarterdeck.web.sockets import SocketProtocol
from quarterdeck.web.tickets import Tickets
from quarterdeck.web.tokens import Authenticator
from quarterdeck.web.watch import WATCH_PATHS

log = structlog.get_logger()

WANTS: Final = Wants(store=True, health_server=False)


class BroadcasterService:
    name: ClassVar[str] = "broadcaster"

    def __init__(self, settings: BroadcasterSettings) -> None:
        self._settings = settings

    async def run(self, ctx: ServiceContext) -> None:
        settings = self._settings
        hubs = Hubs(ctx.bus, ring_bytes=settings.ring_bytes, keep_alive_s=settings.keep_alive_s)
        server = HttpServer(
            self._application(ctx, hubs),
            HttpSettings(
                host=settings.host,
                port=settings.port,
                port_file=settings.port_file,
                unix_socket=settings.unix_socket,
                drain_s=settings.drain_s,
            ),
            sockets=SocketProtocol,
        )
        await server.start()
        log.info("broadcaster.listening", port=server.port)
        try:
            await ctx.registry.tokens.watch()
            ctx.ready()
            await ctx.stopping.wait()
        finally:
            # Streams first: open ones would hold the server's shutdown.
            hubs.stop()
            await server.stop()
            await hubs.close()

    def _application(self, ctx: ServiceContext, hubs: Hubs) -> Gate:
        authenticator = Authenticator(ctx.registry, ctx.clock)
        parts = SocketParts(
            store=ctx.store,
            halts=Halts(ctx.store, Relay(ctx.bus, ctx.store), ctx.clock),
            authenticator=authenticator,
            names=Names(ctx.registry),
        )
        litestar = build(
            [
                *watch_routes(ctx.bus, ctx.store, hubs, self._settings.stall_s),
                *socket_routes(ctx.bus, hubs, parts, self._settings.stall_s),
                *health_routes(ctx.health),
            ],
            OPERATIONS,
            problem_for_path,
        )
        return Gate(
            litestar,
            authenticator,
            Tickets(ctx.registry, ctx.clock),
            ctx.health,
            public_paths=OPERATIONS.public_paths,
            ticket_paths=WATCH_PATHS,
            problem=problem_for_path,
        )
