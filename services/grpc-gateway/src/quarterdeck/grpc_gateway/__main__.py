"""Runs the service: `python -m quarterdeck.grpc_gateway`."""

import sys

from quarterdeck.grpc_gateway.main import main

if __name__ == "__main__":
    sys.exit(main())
