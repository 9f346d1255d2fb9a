"""`python -m quarterdeck.api`."""

import sys

from quarterdeck.api.main import main

sys.exit(main())
