"""What we listen to, apart from the client that carries it at the moment.

Owns one subject and its subscription. Made by Connection.listen, opened anew on each new client.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from nats.aio.subscription import Subscription

from quarterdeck.core.bus.client import Receive, WireClient

Action = Callable[[WireClient], Awaitable[object]]
"""Something to be done with the client of the moment, in its place among the commands."""


class Listening(Protocol):
    """The connection, as far as an interest knows it."""

    def forget(self, interest: "Interest") -> bool: ...

    def queue_action(self, action: Action) -> None: ...

    async def perform(self, action: Action) -> None: ...


class Interest:
    """One subject that we listen to, whichever client carries it at the moment."""

    def __init__(self, connection: Listening, subject: str, queue: str, receive: Receive) -> None:
        self.subject = subject
        self._connection = connection
        self._queue = queue
        self._receive = receive
        self._subscription: Subscription | None = None

    def close(self) -> None:
        """Listen no more; what is on its way is dropped. May be called twice."""
        if self._connection.forget(self):
            self._connection.queue_action(self.close_on)

    async def drain(self) -> None:
        """Listen no more, and return when everything that was on its way has been received."""
        if self._connection.forget(self):
            await self._connection.perform(self._drain)

    async def open_on(self, client: WireClient) -> None:
        """For the connection: have `client` carry it."""
        self._subscription = await client.listen(self.subject, self._queue, self._receive)

    async def close_on(self, client: WireClient) -> None:
        """For the connection: `client` carries it no more."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not client.is_closed:
            await client.unlisten(subscription)

    async def _drain(self, client: WireClient) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not client.is_closed:
            await subscription.drain()  # type: ignore[no-untyped-call]
