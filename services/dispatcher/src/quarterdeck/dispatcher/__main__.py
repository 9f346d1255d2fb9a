"""Runs the service: `python -m quarterdeck.dispatcher`."""

import sys

from quarterdeck.dispatcher.main import main

if __name__ == "__main__":
    sys.exit(main())
