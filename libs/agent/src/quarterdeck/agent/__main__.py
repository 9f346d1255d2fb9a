"""`python -m quarterdeck.agent`."""

import sys

from quarterdeck.agent.lean_start import keep_lean

if __name__ == "__main__":
    keep_lean()
    from quarterdeck.agent.main import main

    sys.exit(main())
