"""Runs the service: `python -m quarterdeck.quic_gateway`."""

import sys

from quarterdeck.quic_gateway.main import main

if __name__ == "__main__":
    sys.exit(main())
