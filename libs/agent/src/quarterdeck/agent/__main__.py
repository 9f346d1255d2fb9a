"""`python -m quarterdeck.agent`."""

import sys

from quarterdeck.agent.main import main

if __name__ == "__main__":
    sys.exit(main())
