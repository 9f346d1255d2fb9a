"""What the gRPC gateway can be told. Variables: `QD_GRPC_GATEWAY_PORT` and so on."""

from pathlib import Path

import msgspec

from quarterdeck.contracts.links import Carrier
from quarterdeck.gateway.settings import GatewaySettings


class GrpcGatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    cert: Path
    """PEM: the server's certificate, then its chain."""
    key: Path
    """PEM, readable by this service alone."""
    host: str = "0.0.0.0"
    port: int = 20035
    """0: a free one, see `port_file`."""
    port_file: Path | None = None
    """Where the bound port is written once agents may connect."""
    gateway_id: str = ""
    """How its id begins; `grpc` when empty. The rest is new in each process: what an earlier life said, and its links,
    are not mistaken for this one's."""
    drain_ms: int = 3_000
    window_bytes: int = 2 * 1024 * 1024
    output_budget_bytes: int = 256 * 1024 * 1024

    def gateway(self, gateway_id: str) -> GatewaySettings:
        """What the gateway library gets to know of it."""
        return GatewaySettings(
            gateway_id=gateway_id,
            carrier=Carrier.GRPC,
            drain_ms=self.drain_ms,
            window_bytes=self.window_bytes,
            output_budget_bytes=self.output_budget_bytes,
        )
