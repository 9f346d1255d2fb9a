"""What the gRPC gateway can be told. Variables: `QD_GRPC_GATEWAY_PORT` and so on."""

from pathlib import Path

from quarterdeck.gateway.service_settings import GatewayServiceSettings


class GrpcGatewaySettings(GatewayServiceSettings, frozen=True, kw_only=True):
    port: int = 20035
    """0: a free one, see `port_file`."""
    plain_port: int | None = None
    """A second port, without TLS, for agents of other protocols that cannot be given a certificate. 0: a free one, see
    `plain_port_file`; None: there is none."""
    plain_port_file: Path | None = None
    """As `port_file`, of the plain port."""
