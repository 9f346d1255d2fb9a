"""Durable work from a stream: overlapped pulls, one handler call for everything queued, acks in one burst.

Owns the loop between a ConsumerShape and its handler: what is requested, when a message is acked, nakked, kept alive or
dead-lettered. Subjects, decoding and meaning belong to the handler. Called by Bus.consume.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core import metrics
from quarterdeck.core.bus.acks import Acks, redelivery_delay_s
from quarterdeck.core.bus.api import Api
from quarterdeck.core.bus.connection import Connection
from quarterdeck.core.bus.consumers import AckPolicy, ConsumerShape
from quarterdeck.core.bus.errors import ConsumerNotFound, Retry, StreamNotFound
from quarterdeck.core.bus.messages import Incoming, parse_ack_reply
from quarterdeck.core.bus.pull import Puller, PullShape
from quarterdeck.core.bus.wire import Delivery

log = structlog.get_logger()

Handler = Callable[[list[Incoming]], Awaitable[None]]
DeadLetter = Callable[[Incoming, str], Awaitable[None]]

_NANOS: Final = 1_000_000_000
_MAX_ACK_PENDING: Final = 50_000
"""Messages out at all replicas together: above what a few of them hold, so that no healthy one is stalled."""
_FIRST_PAUSE_S: Final = 0.1
_MAX_PAUSE_S: Final = 2.0


class Consuming:
    """One call of Bus.consume."""

    def __init__(
        self,
        connection: Connection,
        api: Api,
        shape: ConsumerShape,
        handler: Handler,
        dead_letter: DeadLetter,
    ) -> None:
        self._connection = connection
        self._api = api
        self._shape = shape
        self._handler = handler
        self._dead_letter = dead_letter
        self._acks = Acks(connection)
        self._wake = asyncio.Event()
        self._queued: deque[Incoming] = deque()
        self._in_hand: dict[str, Incoming] = {}
        """What the handler has and nobody acked yet, by reply subject."""
        pull_shape = PullShape(max_bytes=shape.max_batch_bytes, heartbeat_s=2.0)
        self._puller = Puller(connection, pull_shape, self._on_message, self._wake.set)
        self._pause_s = _FIRST_PAUSE_S
        self._stopping = False

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set and the call of the handler under way, if any, has returned."""
        watcher = asyncio.create_task(self._watch(stopping), name=f"consume-watch-{self._shape.durable}")
        keeper = asyncio.create_task(self._keep_alive(), name=f"consume-keep-{self._shape.durable}")
        try:
            while not self._stopping:
                if self._puller.broken and not await self._attach():
                    continue
                self._refill()
                if self._queued:
                    await self._handle(self._take())
                else:
                    await self._wait()
        finally:
            await self._puller.drain()
            # Nobody waits out ack_wait for what we never looked at.
            self._acks.nak(self._queued, delay_s=0)
            watcher.cancel()
            keeper.cancel()
            await asyncio.wait([watcher, keeper])

    def _told_to_stop(self) -> bool:
        return self._stopping

    async def _watch(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._stopping = True
        self._wake.set()

    async def _wait(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(self._puller.patience_s):
                await self._wake.wait()
        except TimeoutError:
            self._puller.check_alive()

    async def _attach(self) -> bool:
        """Create or update the consumer and aim the puller at it. False, after a pause, when it cannot be done yet."""
        reason = self._puller.broken
        shape = self._shape
        config = {
            "durable_name": shape.durable,
            "name": shape.durable,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(shape.ack_wait_s * _NANOS),
            # Unlimited at the server: work-queue streams keep messages beyond it where nobody sees them.
            # `max_deliver` of the shape is enforced on arrival, with a dead letter.
            "max_deliver": -1,
            "max_ack_pending": _MAX_ACK_PENDING,
            "filter_subject": shape.filter,
            "replay_policy": "instant",
        }
        name = f"CONSUMER.CREATE.{shape.stream}.{shape.durable}"
        try:
            await self._api.call(name, {"stream_name": shape.stream, "config": config, "action": ""})
        except (Unavailable, StreamNotFound, ConsumerNotFound) as error:
            log.warning("bus.consumer_not_attached", durable=shape.durable, reason=error.message)
            await self._rest()
            return False
        self._puller.aim(shape.stream, shape.durable)
        self._pause_s = _FIRST_PAUSE_S
        log.info("bus.consumer_attached", stream=shape.stream, durable=shape.durable, after=reason)
        return True

    async def _rest(self) -> None:
        """Pause, longer each time, cut short by stopping."""
        self._wake.clear()
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, _MAX_PAUSE_S)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + pause_s
        while not self._stopping and loop.time() < until_s:
            try:
                async with asyncio.timeout_at(until_s):
                    await self._wake.wait()
            except TimeoutError:
                return
            self._wake.clear()

    def _refill(self) -> None:
        """Keep up to one batch coming and one queued while the handler has another."""
        if self._stopping or self._puller.broken:
            return
        limit = self._shape.max_batch
        room = 2 * limit - len(self._queued) - self._puller.outstanding
        if room >= max(1, limit // 2) and self._puller.outstanding <= limit // 2:
            self._puller.request(min(room, limit))

    def _on_message(self, message: Delivery) -> None:
        facts = parse_ack_reply(message.reply)
        self._queued.append(
            Incoming(
                subject=message.subject,
                body=message.body,
                headers=message.headers or {},
                sequence=facts.stream_sequence,
                delivered=facts.delivered,
                reply=message.reply,
            )
        )
        self._refill()
        self._wake.set()

    def _take(self) -> list[Incoming]:
        queued = self._queued
        return [queued.popleft() for _ in range(min(len(queued), self._shape.max_batch))]

    async def _handle(self, messages: list[Incoming]) -> None:
        """Give `messages` to the handler and settle every one of them."""
        worn_out = [message for message in messages if message.delivered > self._shape.max_deliver]
        if worn_out:
            await self._bury(worn_out, "max_deliver")
            messages = [message for message in messages if message.delivered <= self._shape.max_deliver]
        if not messages:
            return
        if self._shape.policy is AckPolicy.BEFORE_HANDLER:
            self._acks.ack(messages)
        self._in_hand = {message.reply: message for message in messages}
        try:
            await self._call(messages)
        finally:
            self._in_hand = {}

    async def _call(self, messages: list[Incoming]) -> None:
        """Call the handler until it has an answer other than Unavailable, and act on the answer."""
        while True:
            try:
                await self._handler(messages)
            except Unavailable as error:
                log.warning("bus.handler_waiting", durable=self._shape.durable, reason=error.message)
                await self._rest()
                if self._told_to_stop():
                    self._nak(messages, 0)
                    return
            except Retry as retry:
                self._nak(messages, retry.delay_s)
                return
            except Exception:
                log.exception("bus.handler_failed", durable=self._shape.durable, messages=len(messages))
                metrics.HANDLER_FAILURES.labels(self._shape.durable).inc()
                await self._after_failure(messages)
                return
            else:
                self._pause_s = _FIRST_PAUSE_S
                if self._shape.policy is not AckPolicy.BEFORE_HANDLER:
                    self._acks.ack(messages)
                return

    async def _after_failure(self, messages: list[Incoming]) -> None:
        policy = self._shape.policy
        if policy is AckPolicy.BEFORE_HANDLER:
            return
        if len(messages) > 1:
            # One bad message must not take its neighbours along: each gets a call of its own.
            for message in messages:
                await self._call([message])
                self._in_hand.pop(message.reply, None)
        elif policy is AckPolicy.ONCE_FAILED_DEAD or messages[0].delivered >= self._shape.max_deliver:
            await self._bury(messages, "handler_failed")
        else:
            self._nak(messages, None)

    async def _bury(self, messages: list[Incoming], reason: str) -> None:
        for message in messages:
            try:
                await self._dead_letter(message, reason)
            except Unavailable as error:
                log.warning("bus.dead_letter_delayed", durable=self._shape.durable, reason=error.message)
                self._nak([message], None)

    def _nak(self, messages: list[Incoming], delay_s: float | None) -> None:
        for message in messages:
            wait_s = redelivery_delay_s(message.delivered) if delay_s is None else delay_s
            self._acks.nak([message], delay_s=wait_s)

    async def _keep_alive(self) -> None:
        """Tell the server that what is in hand and queued is being worked on."""
        while True:
            await asyncio.sleep(self._shape.ack_wait_s / 3)
            self._acks.in_progress([*self._in_hand.values(), *self._queued])
