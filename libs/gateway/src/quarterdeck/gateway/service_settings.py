"""What both gateway services can be told. Each adds its ports; their main.py fills it from the environment."""

from pathlib import Path

import msgspec

from quarterdeck.contracts.links import Carrier
from quarterdeck.gateway.settings import GatewaySettings


class GatewayServiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Base of GrpcGatewaySettings and QuicGatewaySettings."""

    cert: Path
    """PEM: the server's certificate, then its chain."""
    key: Path
    """PEM, readable by this service alone."""
    host: str = "0.0.0.0"
    port_file: Path | None = None
    """Where the bound port is written once agents may connect."""
    gateway_id: str = ""
    """How its id begins; the carrier's name when empty. The rest is new in each process: what an earlier life said, and
    its links, are not mistaken for this one's."""
    drain_ms: int = 3_000
    window_bytes: int = 2 * 1024 * 1024
    output_budget_bytes: int = 256 * 1024 * 1024
    admit_dialects: bool = False
    """For trials: agents of other protocols that nobody registered are enrolled at first contact."""

    def gateway(self, gateway_id: str, carrier: Carrier) -> GatewaySettings:
        """What the gateway library gets to know of it."""
        return GatewaySettings(
            gateway_id=gateway_id,
            carrier=carrier,
            drain_ms=self.drain_ms,
            window_bytes=self.window_bytes,
            output_budget_bytes=self.output_budget_bytes,
            admit_dialects=self.admit_dialects,
        )
