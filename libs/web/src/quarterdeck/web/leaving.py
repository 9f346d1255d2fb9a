"""Noticing that a client left. Under ASGI nobody tells a handler that only sends: it must listen at the same time."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from litestar.types import Receive


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` to its end, or until the client leaves: then it is cancelled, and its clean-up awaited.

    Raises what `work` raises.
    """
    working = asyncio.create_task(work, name="web-response")
    leaving = asyncio.create_task(_left(receive), name="web-left")
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        working.cancel()
        # Our own cancellation must not cut short what `work` does in its finally blocks.
        await asyncio.shield(asyncio.wait([working, leaving]))
    if not working.cancelled():
        working.result()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
