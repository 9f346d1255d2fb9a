"""Runs the service: `python -m quarterdeck.aggregator`."""

import sys

from quarterdeck.aggregator.main import main

if __name__ == "__main__":
    sys.exit(main())
