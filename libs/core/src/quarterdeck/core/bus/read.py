"""Ordered, gap-free reading of a stream, with back-pressure: what is not asked for is not sent.

Owns an ephemeral consumer and its replacement after a gap, a restart or a lost connection, always at the sequence after
the last one that was handed out. Cheap to open: one request. Called by Bus.read; the registry's watch is built on it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from enum import StrEnum
from typing import Any, Final

import structlog

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core.bus.api import PREFIX, Api
from quarterdeck.core.bus.connection import Connection
from quarterdeck.core.bus.errors import ConsumerNotFound, StreamNotFound, StreamReplaced
from quarterdeck.core.bus.messages import StoredMessage, StreamFacts, parse_ack_reply
from quarterdeck.core.bus.pull import Puller, PullShape
from quarterdeck.core.bus.stream_facts import stream_facts
from quarterdeck.core.bus.wire import Delivery

log = structlog.get_logger()

_NANOS: Final = 1_000_000_000
PULL_BYTES: Final = 4 * 1024 * 1024
"""Bounds what a reader that stopped reading costs us: two pulls at most."""
_INACTIVE_S: Final = 60
"""After this the server forgets a consumer that nobody pulls from: ours when we died."""
_OUTAGE_S: Final = 5.0
"""How long a reading with an end waits for NATS to come back; somebody waits for its result."""
_FIRST_PAUSE_S: Final = 0.1
_MAX_PAUSE_S: Final = 2.0


class Deliver(StrEnum):
    """Where reading begins when no sequence is given."""

    ALL = "all"
    NEW = "new"
    LAST_PER_SUBJECT = "last_per_subject"


class Reading:
    """One call of Bus.read. `batches` is its only use, once."""

    def __init__(
        self,
        connection: Connection,
        api: Api,
        stream: str,
        filters: Sequence[str],
        pull_bytes: int = PULL_BYTES,
    ) -> None:
        self._connection = connection
        self._api = api
        self._stream = stream
        self._filters = list(filters)
        self._deliver = Deliver.ALL
        self._next_sequence: int | None = None
        self._batch = 1
        self._consumer = ""
        self._consumer_sequence = 0
        self._pending = 0
        """Messages that match and that the server had not sent when it sent the last one that we saw."""
        self._facts: StreamFacts | None = None
        self._queued: deque[StoredMessage] = deque()
        self._wake = asyncio.Event()
        self._puller = Puller(
            connection,
            PullShape(max_bytes=pull_bytes, expires_s=60.0, heartbeat_s=10.0),
            self._on_message,
            self._wake.set,
        )

    async def batches(
        self, *, start_sequence: int | None, deliver: Deliver, follow: bool, batch: int
    ) -> AsyncGenerator[list[StoredMessage], None]:
        """See Bus.read."""
        self._next_sequence, self._deliver, self._batch = start_sequence, deliver, batch
        try:
            last_sequence = await self._first_attach()
            while True:
                if self._puller.broken:
                    await self._reattach(None if follow else _OUTAGE_S)
                if not follow and not self._queued and self._done(last_sequence):
                    return
                self._refill()
                if not self._queued:
                    await self._wait()
                    continue
                messages = self._take()
                if not follow and messages[-1].sequence > last_sequence:
                    messages = [message for message in messages if message.sequence <= last_sequence]
                    if messages:
                        yield messages
                    return
                yield messages
        finally:
            self._puller.close()
            self._delete_consumer()

    async def _first_attach(self) -> int:
        self._facts = await stream_facts(self._api, self._stream)
        if self._deliver is Deliver.NEW and self._next_sequence is None:
            # Said as a sequence at once: a consumer that is lost before its first message must not skip any.
            self._next_sequence = self._facts.last_sequence + 1
        await self._attach()
        return self._facts.last_sequence

    async def _reattach(self, outage_s: float | None) -> None:
        """Make another consumer where the last one stopped, as soon as that works.

        Raises StreamReplaced, and Unavailable when it did not work within `outage_s` (None: go on trying).
        """
        log.debug("bus.reading_interrupted", stream=self._stream, reason=self._puller.broken)
        self._delete_consumer()
        pause_s = _FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        give_up_at_s = None if outage_s is None else loop.time() + outage_s
        while True:
            try:
                facts = await stream_facts(self._api, self._stream)
                if self._facts is not None and facts.created_ms != self._facts.created_ms:
                    raise StreamReplaced(self._stream)
                await self._attach()
            except StreamNotFound as error:
                raise StreamReplaced(self._stream) from error
            except (Unavailable, ConsumerNotFound) as error:
                if give_up_at_s is not None and loop.time() >= give_up_at_s:
                    raise
                log.warning("bus.reading_waiting", stream=self._stream, reason=error.message)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _MAX_PAUSE_S)
            else:
                return

    async def _attach(self) -> None:
        self._consumer = self._connection.new_inbox().rpartition(".")[2]
        config: dict[str, Any] = {
            "name": self._consumer,
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": _INACTIVE_S * _NANOS,
            "mem_storage": True,
            "num_replicas": 1,
            "max_deliver": -1,
        }
        if self._next_sequence is not None:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": max(1, self._next_sequence)}
        else:
            config["deliver_policy"] = self._deliver.value
        if len(self._filters) == 1:
            config["filter_subject"] = self._filters[0]
        elif self._filters:
            config["filter_subjects"] = self._filters
        answer = await self._api.call(
            f"CONSUMER.CREATE.{self._stream}.{self._consumer}",
            {"stream_name": self._stream, "config": config},
        )
        self._consumer_sequence = 0
        self._pending = int(answer.get("num_pending", 0))
        self._puller.aim(self._stream, self._consumer)

    def _done(self, last_sequence: int) -> bool:
        beyond = self._next_sequence is not None and self._next_sequence > last_sequence
        return beyond or self._pending == 0

    def _refill(self) -> None:
        if self._puller.broken:
            return
        room = 2 * self._batch - len(self._queued) - self._puller.outstanding
        if room >= max(1, self._batch // 2):
            self._puller.request(min(room, self._batch))

    async def _wait(self) -> None:
        self._wake.clear()
        if self._puller.broken or self._queued:
            return
        try:
            async with asyncio.timeout(self._puller.patience_s):
                await self._wake.wait()
        except TimeoutError:
            self._puller.check_alive()

    def _take(self) -> list[StoredMessage]:
        queued = self._queued
        return [queued.popleft() for _ in range(min(len(queued), self._batch))]

    def _on_message(self, message: Delivery) -> None:
        facts = parse_ack_reply(message.reply)
        if self._puller.broken or facts.consumer_sequence != self._consumer_sequence + 1:
            self._puller.mark_broken("gap")
            return
        self._consumer_sequence = facts.consumer_sequence
        self._pending = facts.pending
        self._next_sequence = facts.stream_sequence + 1
        self._queued.append(
            StoredMessage(
                subject=message.subject,
                body=message.body,
                headers=message.headers or {},
                sequence=facts.stream_sequence,
                at_ms=facts.at_ms,
            )
        )
        self._wake.set()

    def _delete_consumer(self) -> None:
        if self._consumer:
            self._connection.send(f"{PREFIX}CONSUMER.DELETE.{self._stream}.{self._consumer}")
            self._consumer = ""
