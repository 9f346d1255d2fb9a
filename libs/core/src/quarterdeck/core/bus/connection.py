"""One connection to NATS that outlives every nats-py client: rebuilt for ever, subscriptions included.

Owns: the client of the moment, the order of what is sent, the registered interests, and telling its users when the
connection was lost or made anew. Knows nothing of JetStream. Used by the other modules of this package only.

Sending is synchronous and never blocks: operations queue up and one task per client hands them to nats-py. What was
queued when a client dies is dropped; whoever needs it delivered (publisher.py) sends it again when told.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import structlog
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
from quarterdeck.core.bus.interest import Action, Interest
from quarterdeck.core.bus.messages import Headers
from quarterdeck.core.bus.wire import check_publishable, encode_publish

log = structlog.get_logger()

_Operation = bytes | Action
"""A protocol command, or an action between them."""

_FIRST_BACKOFF_S: Final = 0.05
_MAX_BACKOFF_S: Final = 2.0
_WRITE_BYTES: Final = 256 * 1024
_FLUSH_TIMEOUT_S: Final = 2.0
_CANCEL_AGAIN_S: Final = 0.2
_DEFAULT_MAX_PAYLOAD_BYTES: Final = 1024 * 1024


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
    def server(self) -> str:
        """`host:port` of the server in use, without the credentials of its URL; empty when not connected."""
        url = self._client.connected_url if self._client is not None else None
        return f"{url.hostname}:{url.port}" if url is not None else ""

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
        self.queue_action(interest.open_on)
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
                    await self.perform(WireClient.flush)
            except CLIENT_ERRORS as error:
                log.debug("bus.flush_failed", error=repr(error))
        runner, self._runner = self._runner, None
        while runner is not None and not runner.done():
            # Again and again: nats-py's asyncio.wait_for may swallow one (CPython before 3.12).
            runner.cancel()
            await asyncio.wait([runner], timeout=_CANCEL_AGAIN_S)

    def forget(self, interest: Interest) -> bool:
        """False when it was forgotten before."""
        known = interest in self._interests
        self._interests.discard(interest)
        return known

    def queue_action(self, action: Action) -> None:
        # Without a connection nothing is lost: a new client opens the interests that are registered by then.
        if self._up.is_set():
            self._operations.append(action)
            self._wake.set()

    async def perform(self, action: Action) -> None:
        """Run `action` after all that was queued before. Returns early when the connection is lost."""
        if not self._up.is_set():
            return
        done = asyncio.Event()

        async def run(client: WireClient) -> None:
            await action(client)
            done.set()

        self._on_lost.append(done.set)
        try:
            self.queue_action(run)
            await done.wait()
        finally:
            self._on_lost.remove(done.set)

    async def _run(self) -> None:
        while True:
            try:
                await self._live_once()
            except CLIENT_ERRORS as error:
                log.warning("bus.connect_failed", reason=repr(error), connection=self.name)
                await asyncio.sleep(_FIRST_BACKOFF_S)
            except Exception as error:
                # A bug, or a URL that is none. Without this task the bus would be dead and nobody would know.
                self.last_error = repr(error)
                log.exception("bus.connection_crashed", connection=self.name)
                await asyncio.sleep(_MAX_BACKOFF_S)

    async def _live_once(self) -> None:
        """The life of one client."""
        client = await self._connect()
        try:
            await self._open_interests(client)
            await self._use(client)
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
                await interest.open_on(client)
                opened.add(interest)
            for interest in opened - self._interests:
                await interest.close_on(client)
                opened.discard(interest)

    async def _use(self, client: WireClient) -> None:
        """Send until the client is lost."""
        self._client = client
        self._operations.clear()
        self._wake.clear()
        self.last_error = ""
        self._up.set()
        metrics.BUS_CONNECTS.inc()
        log.info("bus.connected", server=self.server, connection=self.name)
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

    def _next_commands(self) -> list[bytes]:
        """Take what is queued before the next action, up to about _WRITE_BYTES."""
        commands: list[bytes] = []
        size_bytes = 0
        operations = self._operations
        while operations and size_bytes < _WRITE_BYTES and isinstance(operations[0], bytes):
            command = cast("bytes", operations.popleft())
            commands.append(command)
            size_bytes += len(command)
        return commands

    async def _send_all(self, client: WireClient) -> None:
        operations = self._operations
        try:
            while True:
                commands = self._next_commands()
                if commands:
                    # One buffer: uvloop's writelines took 5 ms for 400 small ones.
                    await client.write(b"".join(commands))
                elif operations:
                    await cast("Action", operations.popleft())(client)
                else:
                    self._wake.clear()
                    await self._wake.wait()
        except CLIENT_ERRORS as error:
            log.warning("bus.send_failed", error=repr(error), connection=self.name)
