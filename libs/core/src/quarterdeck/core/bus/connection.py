"""One connection to NATS that outlives every nats-py client: rebuilt for ever, subscriptions included.

Owns: the client of the moment, the order of what is sent, the registered interests, and telling its users when the
connection was lost or made anew. Knows nothing of JetStream. Used by the other modules of this package only.

Sending is synchronous and never blocks: operations queue up and one task per client hands them to nats-py. What was
queued when a client dies is dropped; whoever needs it delivered (publisher.py) sends it again when told.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, cast

import structlog
from nats.aio.subscription import Subscription
from nats.nuid import NUID

from quarterdeck.core import metrics
from quarterdeck.core.bus.client import (
    CLIENT_ERRORS,
    ConnectFailed,
    Receive,
    WireClient,
    discard,
    open_client,
)
from quarterdeck.core.bus.messages import Headers
from quarterdeck.core.bus.wire import check_publishable, encode_publish

log = structlog.get_logger()

_Action = Callable[[WireClient], Awaitable[object]]
_Operation = bytes | _Action
"""A protocol command, or something to be done in its place among them."""

_FIRST_BACKOFF_S: Final = 0.05
_MAX_BACKOFF_S: Final = 2.0
_FLUSH_TIMEOUT_S: Final = 2.0
_CANCEL_AGAIN_S: Final = 0.2
_DEFAULT_MAX_PAYLOAD_BYTES: Final = 1024 * 1024


class Interest:
    """One subject that we listen to, whichever client carries it at the moment."""

    def __init__(self, connection: "Connection", subject: str, queue: str, receive: Receive) -> None:
        self.subject = subject
        self._connection = connection
        self._queue = queue
        self._receive = receive
        self._subscription: Subscription | None = None

    def close(self) -> None:
        """Listen no more; what is on its way is dropped. May be called twice."""
        if self._connection._forget(self):
            self._connection._queue_action(self._close)

    async def drain(self) -> None:
        """Listen no more, and return when everything that was on its way has been received."""
        if self._connection._forget(self):
            await self._connection._perform(self._drain)

    async def _open(self, client: WireClient) -> None:
        self._subscription = await client.listen(self.subject, self._queue, self._receive)

    async def _close(self, client: WireClient) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not client.is_closed:
            await client.unlisten(subscription)

    async def _drain(self, client: WireClient) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not client.is_closed:
            await subscription.drain()  # type: ignore[no-untyped-call]


class Connection:
    """Made by Bus.connect. `start` begins connecting; `close` ends it for good."""

    def __init__(self, url: str, name: str) -> None:
        """`url`: one or several `nats://…`, separated by commas."""
        self.name = name
        self.last_error = ""
        """Why the last attempt to connect failed; empty while connected."""
        self._urls = [part.strip() for part in url.split(",")]
        self._nuid = NUID()
        self._client: WireClient | None = None
        self._interests: set[Interest] = set()
        self._operations: deque[_Operation] = deque()
        self._wake = asyncio.Event()
        self._up = asyncio.Event()
        self._lost = asyncio.Event()
        self._on_up: list[Callable[[], None]] = []
        self._on_lost: list[Callable[[], None]] = []
        self._runner: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        return self._up.is_set()

    @property
    def max_payload_bytes(self) -> int:
        """The server's limit on headers and body together."""
        return self._client.max_payload if self._client is not None else _DEFAULT_MAX_PAYLOAD_BYTES

    @property
    def url_in_use(self) -> str | None:
        url = self._client.connected_url if self._client is not None else None
        return url.geturl() if url is not None else None

    def start(self) -> None:
        self._runner = asyncio.create_task(self._run(), name=f"bus-connection-{self.name}")

    async def wait_connected(self, timeout_s: float | None = None) -> bool:
        """Whether it is connected, after waiting for that up to `timeout_s` (None: for ever)."""
        if not self._up.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._up.wait()
            except TimeoutError:
                return False
        return True

    def on_up(self, callback: Callable[[], None]) -> None:
        """Call `callback` each time a client is connected and all interests are in place."""
        self._on_up.append(callback)

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call `callback` each time a client is given up."""
        self._on_lost.append(callback)

    def drop(self, callback: Callable[[], None]) -> None:
        """Forget `callback` of `on_up` or `on_lost`."""
        for callbacks in (self._on_up, self._on_lost):
            if callback in callbacks:
                callbacks.remove(callback)

    def new_inbox(self) -> str:
        """A subject prefix that nobody else has."""
        return f"_INBOX.{self._nuid.next().decode()}"

    def send(self, subject: str, body: bytes = b"", reply: str = "", headers: Headers | None = None) -> bool:
        """Queue one message. False when there is no connection: nothing was queued.

        Raises ValueError for a subject or a header name that NATS does not know.
        """
        check_publishable(subject, headers)
        return self.send_command(encode_publish(subject, body, reply, headers))

    def send_command(self, command: bytes) -> bool:
        """Queue what `wire.encode_publish` made. False when there is no connection: nothing was queued."""
        if not self._up.is_set():
            return False
        self._operations.append(command)
        self._wake.set()
        return True

    def listen(self, subject: str, receive: Receive, queue: str = "") -> Interest:
        """Hand every message on `subject` to `receive`, over all clients to come, until `Interest.close`."""
        interest = Interest(self, subject, queue, receive)
        self._interests.add(interest)
        self._queue_action(interest._open)
        return interest

    def give_up_client(self, reason: str) -> None:
        """The watchdog's verdict: this client is dead whatever it says. A new one follows."""
        log.warning("bus.client_given_up", reason=reason, connection=self.name)
        self._lost.set()

    async def close(self) -> None:
        """Hand over what is queued, then disconnect."""
        if self.connected:
            try:
                async with asyncio.timeout(_FLUSH_TIMEOUT_S):
                    await self._perform(WireClient.flush)
            except CLIENT_ERRORS as error:
                log.debug("bus.flush_failed", error=repr(error))
        runner, self._runner = self._runner, None
        while runner is not None and not runner.done():
            # Again and again: nats-py's asyncio.wait_for may swallow one (CPython before 3.12).
            runner.cancel()
            await asyncio.wait([runner], timeout=_CANCEL_AGAIN_S)

    def _forget(self, interest: Interest) -> bool:
        """False when it was forgotten before."""
        known = interest in self._interests
        self._interests.discard(interest)
        return known

    def _queue_action(self, action: _Action) -> None:
        # Without a connection nothing is lost: a new client opens the interests that are registered by then.
        if self._up.is_set():
            self._operations.append(action)
            self._wake.set()

    async def _perform(self, action: _Action) -> None:
        """Run `action` after all that was queued before. Returns early when the connection is lost."""
        if not self._up.is_set():
            return
        done = asyncio.Event()

        async def run(client: WireClient) -> None:
            await action(client)
            done.set()

        self._on_lost.append(done.set)
        try:
            self._queue_action(run)
            await done.wait()
        finally:
            self._on_lost.remove(done.set)

    async def _run(self) -> None:
        while True:
            client = await self._connect()
            try:
                await self._open_interests(client)
                await self._use(client)
            except CLIENT_ERRORS as error:
                log.warning("bus.connect_failed", reason=repr(error), connection=self.name)
                await asyncio.sleep(_FIRST_BACKOFF_S)
            finally:
                self._down()
                await discard(client)

    async def _connect(self) -> WireClient:
        """Try until it works; back off with jitter so that a fleet of services does not come back in step."""
        backoff_s = _FIRST_BACKOFF_S
        while True:
            self._lost = asyncio.Event()
            try:
                return await open_client(self._urls, self.name, self._lost.set)
            except ConnectFailed as error:
                self.last_error = error.reason
                log.warning(
                    "bus.connect_failed",
                    reason=error.reason,
                    authorization=error.authorization,
                    retry_in_s=round(backoff_s, 2),
                    connection=self.name,
                )
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, _MAX_BACKOFF_S)

    async def _open_interests(self, client: WireClient) -> None:
        """Until `client` listens to exactly what is registered, though that may change meanwhile."""
        opened: set[Interest] = set()
        while opened != self._interests:
            for interest in self._interests - opened:
                await interest._open(client)
                opened.add(interest)
            for interest in opened - self._interests:
                await interest._close(client)
                opened.discard(interest)

    async def _use(self, client: WireClient) -> None:
        """Send until the client is lost."""
        self._client = client
        self._operations.clear()
        self._wake.clear()
        self.last_error = ""
        self._up.set()
        metrics.BUS_CONNECTS.inc()
        log.info("bus.connected", url=self.url_in_use, connection=self.name)
        for callback in tuple(self._on_up):
            callback()
        sender = asyncio.create_task(self._send_all(client), name=f"bus-sender-{self.name}")
        lost = asyncio.create_task(self._lost.wait(), name=f"bus-lost-{self.name}")
        try:
            await asyncio.wait([sender, lost], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sender.cancel()
            lost.cancel()
            for outcome in await asyncio.gather(sender, lost, return_exceptions=True):
                if isinstance(outcome, Exception):
                    log.error("bus.sender_crashed", exc_info=outcome, connection=self.name)

    def _down(self) -> None:
        if not self._up.is_set():
            return
        self._up.clear()
        self._client = None
        self._operations.clear()
        log.info("bus.disconnected", connection=self.name)
        for callback in tuple(self._on_lost):
            callback()

    async def _send_all(self, client: WireClient) -> None:
        operations = self._operations
        try:
            while True:
                commands: list[bytes] = []
                while operations and isinstance(operations[0], bytes):
                    commands.append(cast("bytes", operations.popleft()))
                if commands:
                    await client.write(commands)
                elif operations:
                    await cast("_Action", operations.popleft())(client)
                else:
                    self._wake.clear()
                    await self._wake.wait()
        except CLIENT_ERRORS as error:
            log.warning("bus.send_failed", error=repr(error), connection=self.name)
