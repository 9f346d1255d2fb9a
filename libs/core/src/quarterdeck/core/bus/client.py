"""One nats-py client: how it is made, how it is thrown away, and how its exceptions are named.

nats-py's own reconnecting is switched off. A client lives for one TCP connection; connection.py replaces it. That way a
lost connection, a refused password and a read loop that died silently all end in the same, well-trodden road.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import nats.errors
import structlog
from nats.aio.client import Client

log = structlog.get_logger()

CLIENT_ERRORS: Final = (nats.errors.Error, OSError, TimeoutError)
"""All that nats-py lets out of connect, publish and subscribe when the wire or the server is at fault."""

UNSENDABLE: Final = (nats.errors.BadSubjectError, nats.errors.BadHeaderError, nats.errors.MaxPayloadError)
"""The message is at fault, not the wire."""

_CONNECT_TIMEOUT_S: Final = 3
_PING_INTERVAL_S: Final = 15
"""nats-py's default is 120 s. Our own watchdog is quicker; this is the second line."""
_CLOSE_TIMEOUT_S: Final = 1.0
_PENDING_BYTES: Final = 8 * 1024 * 1024
"""nats-py buffers this much before a publish waits for the socket."""


class ConnectFailed(Exception):
    """One attempt failed. `authorization`: the server knows us and says no."""

    def __init__(self, reason: str, *, authorization: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.authorization = authorization


async def open_client(urls: list[str], name: str, on_end: Callable[[], None]) -> Client:
    """One attempt at each url. `on_end` is called when the client knows that it is dead. Raises ConnectFailed."""
    client = Client()
    last_error: list[Exception] = []

    async def note_error(error: Exception) -> None:
        # Runs inside nats-py's read loop: must neither raise nor wait.
        last_error[:] = [error]

    async def note_end() -> None:
        on_end()

    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S * (len(urls) + 1)):
            await client.connect(
                servers=urls,
                name=name,
                error_cb=note_error,
                disconnected_cb=note_end,
                closed_cb=note_end,
                allow_reconnect=False,
                # 0 and below would loop for ever inside nats-py; 1 tries each server twice and gives up.
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=_CONNECT_TIMEOUT_S,
                ping_interval=_PING_INTERVAL_S,
                max_outstanding_pings=2,
                pending_size=_PENDING_BYTES,
            )
    except CLIENT_ERRORS as error:
        cause = last_error[0] if last_error and isinstance(error, nats.errors.NoServersError) else error
        await discard(client)
        reason = str(cause) or type(cause).__name__
        raise ConnectFailed(reason, authorization="authorization" in reason.lower()) from error
    return client


async def discard(client: Client) -> None:
    """Close `client` without ever waiting long: its peer may be frozen and its socket full."""
    transport = client._transport
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await client.close()
    except CLIENT_ERRORS as error:
        log.debug("bus.client_close_failed", error=repr(error))
    writer = getattr(transport, "_io_writer", None)
    if writer is not None and not writer.transport.is_closing():
        # `close` waits for the send buffer; towards a frozen server that is for ever.
        writer.transport.abort()
