"""Entry point of the QUIC gateway; the only place here that reads the environment."""

import os

from quarterdeck.core.runtime import run_service
from quarterdeck.core.settings import CoreSettings, load
from quarterdeck.quic_gateway.service import QuicGateway
from quarterdeck.quic_gateway.settings import QuicGatewaySettings


def main() -> int:
    settings = load(QuicGatewaySettings, "QUIC_GATEWAY", os.environ)
    core = load(CoreSettings, "", os.environ)
    return run_service(lambda: QuicGateway(settings), core)
