"""One nats-py client: how it is made, used and thrown away, and how its exceptions are named.

nats-py's own reconnecting is switched off. A client lives for one TCP connection; connection.py replaces it. That way a
lost connection, a refused password and a read loop that died silently all take the same, well-trodden road
(docs/adr/0007-one-client-per-connection.md).

The only place that touches private parts of nats-py, and only these: `_process_msg` and `_subs` (a task and a queue per
message saved), `_transport` (bursts written at once; abort towards a frozen peer), `_flush_pending`. Measured with
`just bench`: 2 × on both ways. tests/integration/bus/test_client.py fails when an update moves them.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from quarterdeck.core.bus.wire import Delivery, parse_headers

log = structlog.get_logger()

Receive = Callable[[Delivery], None]
"""Called in the read path for every message: quick, and never raising."""

CLIENT_ERRORS: Final = (nats.errors.Error, OSError, TimeoutError)
"""All that nats-py lets out when the wire or the server is at fault."""

_CONNECT_TIMEOUT_S: Final = 3
_PING_INTERVAL_S: Final = 15
"""The default is 120 s. Our own watchdog is quicker; this is the second line."""
_CLOSE_TIMEOUT_S: Final = 1.0


class ConnectFailed(Exception):
    """One attempt failed. `authorization`: the server knows us and says no."""

    def __init__(self, reason: str, *, authorization: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.authorization = authorization


class WireClient(Client):
    """nats-py's client with a straight road for messages in both directions."""

    async def listen(self, subject: str, queue: str, receive: Receive) -> Subscription:
        """Subscribe; `receive` is called right where the message was parsed. The server knows when this returns."""

        async def by_queue(message: Msg) -> None:
            # The slow road, for a nats-py that no longer calls our `_process_msg`.
            receive(Delivery(message.subject, message.reply, message.data, message.headers))

        by_queue.receive = receive  # type: ignore[attr-defined]
        subscription = await self.subscribe(
            subject, queue=queue, cb=by_queue, pending_msgs_limit=0, pending_bytes_limit=0
        )
        await self._flush_pending(force_flush=True)
        return subscription

    async def unlisten(self, subscription: Subscription) -> None:
        """Unsubscribe; the server knows before anything that is written later."""
        await subscription.unsubscribe()
        await self._flush_pending(force_flush=True)

    async def write(self, commands: bytes) -> None:
        """Write whole protocol commands and wait while the socket is full. Raises OSError."""
        if self._transport is None or not self.is_connected:
            raise nats.errors.ConnectionClosedError
        self._transport.write(commands)
        await self._transport.drain()  # type: ignore[no-untyped-call]

    def abort(self) -> None:
        """Drop the socket without sending what is left: `close` would wait for ever for a frozen server."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> None:
        subscription = self._subs.get(sid)
        receive: Receive | None = getattr(getattr(subscription, "_cb", None), "receive", None)
        if receive is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        parsed = parse_headers(headers) if headers else None
        receive(Delivery(subject.decode(), reply.decode(), data, parsed))


async def open_client(urls: list[str], name: str, on_end: Callable[[], None]) -> WireClient:
    """One attempt at each url. `on_end` is called when the client knows that it is dead. Raises ConnectFailed."""
    client = WireClient()
    last_error: list[Exception] = []

    async def note_error(error: Exception) -> None:
        # Runs inside nats-py's read loop: must neither raise nor wait.
        last_error[:] = [error]

    async def note_end() -> None:
        on_end()

    connected = False
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
            )
        connected = True
    except CLIENT_ERRORS as error:
        cause = last_error[0] if last_error and isinstance(error, nats.errors.NoServersError) else error
        reason = str(cause) or type(cause).__name__
        raise ConnectFailed(reason, authorization="authorization" in reason.lower()) from error
    finally:
        if not connected:  # nats-py leaves the socket of a failed or cancelled attempt open
            await discard(client)
    return client


async def discard(client: WireClient) -> None:
    """Close `client` without ever waiting long: its peer may be frozen and its socket full."""
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await client.close()
    except CLIENT_ERRORS as error:
        log.debug("bus.client_close_failed", error=repr(error))
    client.abort()
