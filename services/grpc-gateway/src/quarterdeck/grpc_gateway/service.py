"""The life of the gRPC gateway: gateway first, then the ports; on SIGTERM the links leave before the ports close."""

import secrets
from functools import partial
from pathlib import Path
from typing import ClassVar

import structlog

from quarterdeck.contracts.links import Carrier
from quarterdeck.core.runtime import ServiceContext
from quarterdeck.gateway.gateway import Gateway
from quarterdeck.grpc_gateway.carrier import GrpcServer, Serve
from quarterdeck.grpc_gateway.dialects import receptions
from quarterdeck.grpc_gateway.settings import GrpcGatewaySettings
from quarterdeck.wire.codes import GRPC_METHOD

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
        foreign: dict[str, Serve] = {
            method: partial(gateway.serve, reception=reception)
            for method, reception in receptions(ctx, gateway, admit=settings.admit_dialects).items()
        }
        server = GrpcServer({GRPC_METHOD: gateway.serve, **foreign})
        # Agents of ours always have TLS: the plain port knows only the others.
        plain = GrpcServer(foreign)
        port = await server.listen(settings.host, settings.port, cert=settings.cert, key=settings.key)
        log.info("grpc_gateway.listening", host=settings.host, port=port, gateway_id=gateway_id)
        if settings.plain_port is not None:
            plain_port = await plain.listen_plain(settings.host, settings.plain_port)
            log.warning("grpc_gateway.listening_without_tls", host=settings.host, port=plain_port)
            _publish(plain_port, settings.plain_port_file)
        _publish(port, settings.port_file)
        ctx.ready()
        await ctx.stopping.wait()
        await gateway.drain()
        await server.close()
        await plain.close()


def _publish(port: int, port_file: Path | None) -> None:
    if port_file is not None:
        port_file.write_text(f"{port}\n", encoding="utf-8")
