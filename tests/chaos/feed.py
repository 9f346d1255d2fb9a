"""What the streams hold in the end, read with a client that is not ours: the product's reader is under test, too."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import nats
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

from quarterdeck.contracts import streams
from quarterdeck.contracts.states import CommandState
from quarterdeck.testing.checker import FeedEnd

_FETCH: Final = 500
_ENDS: Final = "qd.event.*.*.*.command.completed"


class Stored(msgspec.Struct, frozen=True):
    sequence: int
    subject: str
    body: bytes


class Feed:
    def __init__(self, jetstream: JetStreamContext) -> None:
        self._jetstream = jetstream

    @classmethod
    @asynccontextmanager
    async def opened(cls, nats_url: str) -> AsyncIterator["Feed"]:
        client = await nats.connect(nats_url, max_reconnect_attempts=-1)
        try:
            yield cls(client.jetstream())
        finally:
            await client.close()

    async def read(self, stream: str, filters: Sequence[str], *, headers_only: bool = False) -> list[Stored]:
        """Everything that is stored under `filters` now, in order. `headers_only`: bodies are left out."""
        consumer = await self._jetstream.add_consumer(
            stream,
            ConsumerConfig(
                filter_subjects=list(filters),
                ack_policy=AckPolicy.NONE,
                headers_only=headers_only,
                mem_storage=True,
                inactive_threshold=30,
            ),
        )
        left = consumer.num_pending or 0
        subscription = await self._jetstream.pull_subscribe_bind(consumer=consumer.name, stream=stream)
        stored: list[Stored] = []
        while left > 0:
            for message in await subscription.fetch(min(left, _FETCH), timeout=10):
                stored.append(Stored(message.metadata.sequence.stream, message.subject, message.data))
                left -= 1
        await subscription.unsubscribe()
        await self._jetstream.delete_consumer(stream, consumer.name)
        return stored

    async def ends(self, stream: str = streams.FEED) -> list[FeedEnd]:
        """Every `command.completed`."""
        return [_end(stored) for stored in await self.read(stream, [_ENDS])]

    async def sequences_of_batch(self, batch_id: str) -> tuple[int, ...]:
        """All that a watcher of the batch must see."""
        filters = [f"qd.event.*.{batch_id}.>", f"qd.output.*.{batch_id}.>"]
        return tuple(stored.sequence for stored in await self.read(streams.FEED, filters, headers_only=True))


def _end(stored: Stored) -> FeedEnd:
    about = json.loads(stored.body)["data"]
    return FeedEnd(
        command_id=about["command_id"],
        state=CommandState(about["state"]),
        attempt=about["attempt"],
        sequence=stored.sequence,
    )
