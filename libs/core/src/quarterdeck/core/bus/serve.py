"""Responders on core NATS: a handler task per request, answers in the order in which they are ready.

Owns the tasks of its handler. An error becomes an answer with the error's stable code in a header, so that the asker
does not wait for nothing. Called by Bus.serve.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from quarterdeck.contracts.errors import QuarterdeckError
from quarterdeck.core.bus.connection import Connection
from quarterdeck.core.bus.messages import ERROR_CODE, Headers
from quarterdeck.core.bus.wire import Delivery

log = structlog.get_logger()

RequestHandler = Callable[[bytes, Headers], Awaitable[bytes]]


class Responder:
    """Serves one subject until `close`."""

    def __init__(self, connection: Connection, subject: str, queue: str, handler: RequestHandler) -> None:
        self._connection = connection
        self._handler = handler
        self._subject = subject
        self._running: set[asyncio.Task[None]] = set()
        self._interest = connection.listen(subject, self._receive, queue)

    async def close(self) -> None:
        """Take no more requests and let the running ones answer."""
        await self._interest.drain()
        if self._running:
            await asyncio.wait(self._running)

    def _receive(self, message: Delivery) -> None:
        task = asyncio.create_task(self._answer(message), name=f"serve-{self._subject}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _answer(self, message: Delivery) -> None:
        headers: Headers | None = None
        body = b""
        try:
            body = await self._handler(message.body, message.headers or {})
        except QuarterdeckError as error:
            log.warning("bus.request_refused", subject=self._subject, code=error.code)
            headers = {ERROR_CODE: error.code}
        except Exception:
            log.exception("bus.request_crashed", subject=self._subject)
            headers = {ERROR_CODE: QuarterdeckError.code}
        if message.reply:
            self._connection.send(message.reply, body, headers=headers)
