"""The life of the QUIC gateway: gateway first, then the port; on SIGTERM the links leave before the port closes."""

import secrets
from typing import ClassVar

import structlog

from quarterdeck.contracts.links import Carrier
from quarterdeck.core.runtime import ServiceContext
from quarterdeck.gateway.gateway import Gateway
from quarterdeck.quic_gateway.carrier import QuicLink, QuicServer
from quarterdeck.quic_gateway.dialects import receptions
from quarterdeck.quic_gateway.settings import QuicGatewaySettings

log = structlog.get_logger()


class QuicGateway:
    name: ClassVar[str] = "quic-gateway"

    def __init__(self, settings: QuicGatewaySettings) -> None:
        self._settings = settings

    async def run(self, ctx: ServiceContext) -> None:
        """Until `ctx.stopping`, then until the links are gone."""
        settings = self._settings
        gateway_id = f"{settings.gateway_id or 'quic'}-{secrets.token_hex(8)}"
        gateway = Gateway(ctx.registry, ctx.clock, ctx.tasks, settings.gateway(gateway_id, Carrier.QUIC))
        await gateway.start()
        foreign = receptions(ctx, gateway, admit=settings.admit_dialects)

        def accept(connection: QuicLink) -> None:
            ctx.tasks.spawn(serve(connection), "quic_link")

        async def serve(connection: QuicLink) -> None:
            try:
                await gateway.serve(connection, foreign.get(connection.alpn))
            finally:
                server.forget(connection)

        server = QuicServer(accept)
        port = await server.listen(settings.host, settings.port, cert=settings.cert, key=settings.key)
        log.info("quic_gateway.listening", host=settings.host, port=port, gateway_id=gateway_id)
        if settings.port_file is not None:
            settings.port_file.write_text(f"{port}\n", encoding="utf-8")
        ctx.ready()
        await ctx.stopping.wait()
        await gateway.drain()
        server.close()
