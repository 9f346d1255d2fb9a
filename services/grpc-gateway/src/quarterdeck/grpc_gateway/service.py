"""The life of the gRPC gateway: gateway first, then the port; on SIGTERM the links leave before the port closes."""

import secrets
from typing import ClassVar

import structlog

from quarterdeck.contracts.links import Carrier
from quarterdeck.core.runtime import ServiceContext
from quarterdeck.gateway.gateway import Gateway
from quarterdeck.grpc_gateway.carrier import GrpcServer
from quarterdeck.grpc_gateway.settings import GrpcGatewaySettings

log = structlog.get_logger()


class GrpcGateway:
    name: ClassVar[str] = "grpc-gateway"

    def __init__(self, settings: GrpcGatewaySettings) -> None:
        self._settings = settings

    async def run(self, ctx: ServiceContext) -> None:
        """Until `ctx.stopping`, then until the links are gone."""
        settings = self._settings
        gateway_id = f"{settings.gateway_id or 'grpc'}-{secrets.token_hex(8)}"
        gateway = Gateway(ctx.registry, ctx.clock, ctx.tasks, settings.gateway(gateway_id, Carrier.GRPC))
        await gateway.start()
        server = GrpcServer(gateway.serve)
        port = await server.listen(settings.host, settings.port, cert=settings.cert, key=settings.key)
        log.info("grpc_gateway.listening", host=settings.host, port=port, gateway_id=gateway_id)
        if settings.port_file is not None:
            settings.port_file.write_text(f"{port}\n", encoding="utf-8")
        ctx.ready()
        await ctx.stopping.wait()
        await gateway.drain()
        await server.close()
