"""What the QUIC gateway can be told. Variables: `QD_QUIC_GATEWAY_PORT` and so on."""

from quarterdeck.gateway.service_settings import GatewayServiceSettings


class QuicGatewaySettings(GatewayServiceSettings, frozen=True, kw_only=True):
    port: int = 8474
    """UDP. 0: a free one, see `port_file`."""
