"""Work that repeats: at once, then at an interval, through outages of the brokers, until the service stops."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from quarterdeck.contracts.errors import Unavailable

log = structlog.get_logger()


async def every(
    interval_s: float, act: Callable[[], Awaitable[object]], stopping: asyncio.Event, *, name: str
) -> None:
    """Calls `act` until `stopping`. Unavailable is logged and waited out; anything else is the caller's crash."""
    while not stopping.is_set():
        try:
            await act()
        except Unavailable as error:
            log.warning("runtime.round_skipped", name=name, reason=error.message)
        try:
            async with asyncio.timeout(interval_s):
                await stopping.wait()
        except TimeoutError:
            continue
