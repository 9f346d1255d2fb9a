"""`python -m quarterdeck.api`."""

import sys

from quarterdeck.api.main import main

if __name__ == "__main__":
    sys.exit(main())
