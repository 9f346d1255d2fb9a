"""Entry point of the gRPC gateway; the only place here that reads the environment."""

import os

from quarterdeck.core.runtime import run_service
from quarterdeck.core.settings import CoreSettings, load
from quarterdeck.grpc_gateway.service import GrpcGateway
from quarterdeck.grpc_gateway.settings import GrpcGatewaySettings


def main() -> int:
    settings = load(GrpcGatewaySettings, "GRPC_GATEWAY", os.environ)
    core = load(CoreSettings, "", os.environ)
    return run_service(lambda: GrpcGateway(settings), core)
