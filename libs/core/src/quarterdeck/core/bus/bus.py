"""The bus as services see it: one object per process, made by the runtime.

Owns the parts and their order of start and end. What each call does is in the module it delegates to.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import structlog

from quarterdeck.contracts import subjects
from quarterdeck.core import metrics, telemetry
from quarterdeck.core.bus.acks import Acks
from quarterdeck.core.bus.api import Api
from quarterdeck.core.bus.bursts import Many, Single
from quarterdeck.core.bus.connection import Connection
from quarterdeck.core.bus.consume import Consuming
from quarterdeck.core.bus.consumers import ConsumerShape
from quarterdeck.core.bus.errors import MessageTooLarge, RequestFailed
from quarterdeck.core.bus.messages import (
    ERROR_CODE,
    MSG_ID,
    Ack,
    Headers,
    Incoming,
    Outgoing,
    StoredMessage,
    StreamFacts,
    stream_of,
)
from quarterdeck.core.bus.publisher import Publisher
from quarterdeck.core.bus.read import PULL_BYTES, Deliver, Reading
from quarterdeck.core.bus.requests import Requests
from quarterdeck.core.bus.serve import RequestHandler, Responder
from quarterdeck.core.bus.stream_facts import last_message, stream_facts
from quarterdeck.core.bus.watchdog import PATIENT, Patience, Watchdog

log = structlog.get_logger()

PUBLISH_TIMEOUT_S = 5.0
_CLOSE_GRACE_S = 2.0


class Bus:
    """Publish, consume, read, ask and serve. Made with `Bus.connect`."""

    def __init__(self, connection: Connection, patience: Patience) -> None:
        self._connection = connection
        self._requests = Requests(connection)
        self._publisher = Publisher(connection)
        self._acks = Acks(connection)
        self._watchdog = Watchdog(connection, self._requests, lambda: self._publisher.oldest_age_s, patience)
        self.api = Api(self._requests)
        """JetStream's API; for streams.py and for tests."""

    @classmethod
    async def connect(
        cls, url: str, *, name: str, wait_s: float = 5.0, patience: Patience = PATIENT
    ) -> "Bus":
        """Connect to `url` (several separated by commas) under the client name `name`.

        Waits up to `wait_s` and returns in any case: without a server the bus goes on trying for ever, and says so by
        `healthy`.
        """
        bus = cls(Connection(url, name), patience)
        bus._connection.start()
        bus._watchdog.start()
        if not await bus._connection.wait_connected(wait_s):
            log.warning("bus.not_connected_yet", reason=bus._connection.last_error)
        return bus

    @property
    def healthy(self) -> bool:
        """Whether NATS is connected and answers, as far as the watchdog knows."""
        return self._connection.connected

    @property
    def trouble(self) -> str:
        """Why it is not healthy; empty when it is."""
        return "" if self.healthy else self._connection.last_error or "not connected"

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each connection to come."""
        self._connection.on_up(callback)

    async def close(self) -> None:
        """Wait a moment for publishes under way, end the rest with Unavailable, disconnect."""
        try:
            async with asyncio.timeout(_CLOSE_GRACE_S):
                await self._publisher.wait_idle()
        except TimeoutError:
            log.warning("bus.closed_with_unsettled", messages=self._publisher.unsettled)
        self._publisher.fail_all()
        await self._watchdog.close()
        await self._connection.close()

    async def publish(self, outgoing: Outgoing, timeout_s: float = PUBLISH_TIMEOUT_S) -> Ack:
        """One message into a stream. Raises Unavailable, WrongLastSequence, MessageTooLarge, ApiError."""
        return await self.publish_soon(outgoing, timeout_s)

    def publish_soon(self, outgoing: Outgoing, timeout_s: float = PUBLISH_TIMEOUT_S) -> asyncio.Future[Ack]:
        """As `publish`, without waiting: the message is on its way when this returns."""
        single = Single()
        self._publisher.submit((outgoing,), telemetry.inject(), single, timeout_s)
        return single.acked

    async def publish_many(
        self, messages: Sequence[Outgoing], timeout_s: float = PUBLISH_TIMEOUT_S
    ) -> list[Ack]:
        """All `messages` in one burst; their acks in the same order.

        Raises the first error (see `publish`) after every message has ended, so that nothing is still under way when
        the caller decides what to do.
        """
        if not messages:
            return []
        burst = Many(len(messages))
        self._publisher.submit(messages, telemetry.inject(), burst, timeout_s)
        return await burst.acks()

    async def request(
        self, subject: str, body: bytes, headers: Headers | None = None, timeout_s: float = 2.0
    ) -> bytes:
        """Ask whoever serves `subject`.

        Raises NoResponder, RequestTimeout, RequestFailed, Unavailable, MessageTooLarge.
        """
        limit_bytes = self._connection.max_payload_bytes
        if len(body) > limit_bytes:
            raise MessageTooLarge(subject, len(body), limit_bytes)
        answer = await self._requests.ask(subject, body, telemetry.inject(headers), timeout_s)
        if answer.headers is not None and (reason := answer.headers.get(ERROR_CODE)) is not None:
            raise RequestFailed(subject, reason)
        return answer.body

    async def serve(self, subject: str, handler: RequestHandler, *, queue: str = "") -> Responder:
        """Answer requests on `subject` with what `handler(body, headers)` returns.

        Requests run concurrently and start in order of arrival. With `queue`, one of the responders with that name
        gets each request. Returns once the server knows of us, if it is connected.
        """
        responder = Responder(self._connection, subject, queue, handler)
        await self._requests.ping(timeout_s=2.0)
        return responder

    async def consume(
        self,
        consumer: ConsumerShape,
        handler: Callable[[list[Incoming]], Awaitable[None]],
        stopping: asyncio.Event,
    ) -> None:
        """Give `handler` everything queued, up to `max_batch` at once, until `stopping` is set.

        Returning acks all. Raising Retry naks all with back-off, Unavailable calls again later with the same
        messages; anything else is settled by the consumer's AckPolicy. What cannot be decoded goes to `dead_letter`.
        """
        await Consuming(self._connection, self.api, consumer, handler, self.dead_letter).run(stopping)

    async def dead_letter(self, incoming: Incoming, reason: str) -> None:
        """Put `incoming` aside, with why and whence, and never deliver it again. Raises Unavailable.

        `reason`: a short stable word such as `decode_error`.
        """
        stream = stream_of(incoming.reply)
        kept = {name: value for name, value in incoming.headers.items() if name != MSG_ID}
        dead = Outgoing(
            subject=subjects.dead(stream),
            body=incoming.body,
            msg_id=f"{stream}-{incoming.sequence}",
            headers={**kept, "Qd-Subject": incoming.subject, "Qd-Reason": reason},
        )
        await self.publish(dead)
        self._acks.terminate([incoming])
        metrics.DEAD_LETTERS.labels(stream, reason).inc()
        log.warning("bus.message_dead_lettered", stream=stream, sequence=incoming.sequence, reason=reason)

    async def last_message(self, stream: str, subject: str) -> StoredMessage | None:
        """The newest message on exactly `subject`. Raises StreamNotFound, Unavailable."""
        return await last_message(self.api, stream, subject)

    def read(
        self,
        stream: str,
        filters: Sequence[str],
        *,
        start_sequence: int | None = None,
        deliver: Deliver | str = Deliver.ALL,
        follow: bool,
        batch: int = 500,
        pull_bytes: int = PULL_BYTES,
    ) -> AsyncGenerator[list[StoredMessage], None]:
        """Messages on `filters` in stream order, without gap or repetition, in lists of up to `batch`.

        Begins at `start_sequence`, or where `deliver` says. With `follow` it goes on for ever, through restarts of the
        server; without, it ends at the sequence that was the stream's last at the call. Nothing is fetched ahead of a
        slow reader beyond two batches, nor beyond two times `pull_bytes`, which must hold the largest message.

        Raises StreamNotFound and Unavailable at the start, StreamReplaced when the stream was made anew meanwhile,
        and without `follow` Unavailable when NATS stays away.
        """
        reading = Reading(self._connection, self.api, stream, filters, pull_bytes)
        return reading.batches(
            start_sequence=start_sequence, deliver=Deliver(deliver), follow=follow, batch=batch
        )

    async def stream_info(self, name: str) -> StreamFacts:
        """Raises StreamNotFound, Unavailable."""
        return await stream_facts(self.api, name)
