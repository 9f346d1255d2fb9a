"""Runs a coroutine from a synchronous session fixture, beside pytest-asyncio.

Owns a loop for the length of one call. `asyncio.run` is wrong here: it takes away the current event loop that
pytest-asyncio has set for the test.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


def run_in_new_loop(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Runs `coroutine` to its end in a loop of its own and returns what it returned."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()
