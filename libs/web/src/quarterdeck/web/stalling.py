"""Clients that stop reading: how long a write may wait for them, and how they are dropped.

Without this a client that keeps its connection open and reads nothing holds a reader of the log, its buffers and a task
for as long as it likes.
"""

import asyncio
from typing import Any, Final

from litestar.types import Message, Scope, Send

from quarterdeck.web.server import ABORT

STALL_S: Final = 30.0
"""How long one write may wait for a client, unless the service says otherwise."""


class ClientStalled(Exception):
    """The client was dropped. Nothing more can be sent to it."""


async def send_within(scope: Scope, send: Send, message: Message, stall_s: float = STALL_S) -> None:
    """`send`, but a client that takes longer than `stall_s` to make room loses its connection. Raises ClientStalled."""
    try:
        async with asyncio.timeout(stall_s):
            await send(message)
    except TimeoutError:
        extensions: dict[str, Any] = scope.get("extensions") or {}
        abort = extensions.get(ABORT)
        if abort is not None:
            abort()
            await asyncio.sleep(0)  # lets the server notice before we return without an end
        raise ClientStalled from None
