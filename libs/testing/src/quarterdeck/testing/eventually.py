"""Waiting for what happens in another process: asks until it holds, instead of sleeping and hoping."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

_PAUSE_S = 0.01


async def eventually(condition: Callable[[], object | Awaitable[object]], *, within_s: float = 20.0) -> None:
    """Returns once `condition` (plain or async) gives something true. Raises TimeoutError after `within_s`.

    `within_s` is a bound for a broken system, not an expectation: nothing may be concluded from how long it took.
    """
    async with asyncio.timeout(within_s):
        while True:
            answer = condition()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(_PAUSE_S)
