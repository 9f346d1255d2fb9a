"""Keeps out of a process what only its neighbours in the environment need. Called by entry points, before all else.

structlog loads rich, wherever it is installed, for tracebacks that we have switched off (core/logging.py): 6 MB in each
process of an agent (measured).
"""

import sys
from typing import Final

_UNUSED: Final = ("rich",)


def keep_lean() -> None:
    """From now on, importing what an agent has no use for fails as if it were not installed."""
    for module in _UNUSED:
        sys.modules.setdefault(module, None)  # type: ignore[arg-type]  # documented: import system reference, 5.3.1
