"""Waiting for what a server shows a moment later and announces to nobody."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], Awaitable[bool]], *, within_s: float = 30) -> None:
    """Returns as soon as `condition()` holds. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - nothing here sets an event
            await asyncio.sleep(0.01)
