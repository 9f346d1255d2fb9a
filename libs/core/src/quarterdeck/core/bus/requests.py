"""Request and reply over one inbox of our own: one subscription for all answers, futures by token.

Owns the inbox and the open requests. Used for responders of ours, for JetStream's API and for the watchdog's ping.
Publishing has an inbox of its own (publisher.py), because its answers are handled without a task each.
"""

import asyncio

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core.bus.connection import Connection
from quarterdeck.core.bus.errors import NoResponder, RequestTimeout
from quarterdeck.core.bus.messages import NO_RESPONDERS, STATUS, Headers
from quarterdeck.core.bus.wire import Delivery


class ConnectionLost(Unavailable):
    """The connection went away while the answer was awaited; whether the request arrived is not known."""

    def __init__(self) -> None:
        super().__init__("connection to NATS lost")


class Requests:
    """Open requests of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox = connection.new_inbox()
        self._open: dict[str, asyncio.Future[Delivery]] = {}
        self._counter = 0
        connection.listen(f"{self._inbox}.*", self._receive)
        connection.on_lost(self._fail_all)

    async def ask(self, subject: str, body: bytes, headers: Headers | None, timeout_s: float) -> Delivery:
        """One request. Raises Unavailable without a connection, NoResponder, RequestTimeout, ConnectionLost."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        if not await self._connection.wait_connected(timeout_s):
            raise Unavailable(f"NATS is away: {self._connection.last_error or 'not connected'}")
        reply, answer = self._expect()
        try:
            self._connection.send(subject, body, reply, headers)
            async with asyncio.timeout_at(deadline_s):
                message = await answer
        except TimeoutError:
            raise RequestTimeout(subject, timeout_s) from None
        finally:
            self._open.pop(reply, None)
        if message.headers is not None and message.headers.get(STATUS) == NO_RESPONDERS and not message.body:
            raise NoResponder(subject)
        return message

    async def ping(self, timeout_s: float) -> bool:
        """A message to ourselves and back: proves the socket, the server, the subscription and the read loop."""
        reply, answer = self._expect()
        try:
            self._connection.send(reply)
            async with asyncio.timeout(timeout_s):
                await answer
        except (TimeoutError, ConnectionLost):
            return False
        else:
            return True
        finally:
            self._open.pop(reply, None)

    def _expect(self) -> tuple[str, asyncio.Future[Delivery]]:
        self._counter += 1
        reply = f"{self._inbox}.{self._counter}"
        answer = self._open[reply] = asyncio.get_running_loop().create_future()
        return reply, answer

    def _receive(self, message: Delivery) -> None:
        answer = self._open.pop(message.subject, None)
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _fail_all(self) -> None:
        for answer in self._open.values():
            if not answer.done():
                answer.set_exception(ConnectionLost())
        self._open.clear()
