"""`python -m quarterdeck.broadcaster`."""

import sys

from quarterdeck.broadcaster.main import main

if __name__ == "__main__":
    sys.exit(main())
