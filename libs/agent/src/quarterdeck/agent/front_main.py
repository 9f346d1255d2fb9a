"""`python -m quarterdeck.agent.front_main`: the front, as an executor starts it. Not for the command line."""

import sys

from quarterdeck.agent.lean_start import keep_lean

if __name__ == "__main__":
    keep_lean()
    from quarterdeck.agent.front_process import main

    sys.exit(main())
