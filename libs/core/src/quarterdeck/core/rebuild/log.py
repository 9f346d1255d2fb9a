"""The log of what happened to commands, batches and sessions, read from its beginning or from a known place.

QD_STATE holds every event but lags a little behind QD_FEED, which it copies; so the rest is read there. Where the two
overlap, or order differs, nothing is harmed: restoring takes events in any order and any number of times.
"""

from collections.abc import AsyncIterator
from typing import Final

from quarterdeck.contracts import streams, subjects
from quarterdeck.core.bus import Bus, StoredMessage
from quarterdeck.core.store.restoring import Horizon

_SOURCE: Final = "Nats-Stream-Source"
"""`<stream> <sequence> …`: where a copied message comes from. Source: nats-server, ADR-36 and server/stream.go."""
_PAGE: Final = 1_000


class Log:
    """One reading. `position`: QD_FEED is read up to there."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._feed_created_ms = 0
        self._position = 0

    @property
    def horizon(self) -> Horizon:
        return Horizon(self._feed_created_ms, self._position)

    async def check(self) -> None:
        """That there is a log to be read. Raises Unavailable, StreamNotFound."""
        for stream in (streams.STATE, streams.FEED):
            await self._bus.stream_info(stream)

    async def since(self, horizon: Horizon | None) -> AsyncIterator[list[StoredMessage]]:
        """All that was told after `horizon`, or ever. Raises Unavailable, StreamNotFound, StreamReplaced."""
        feed = await self._bus.stream_info(streams.FEED)
        self._feed_created_ms = feed.created_ms
        known = horizon is not None and horizon.feed_created_ms == feed.created_ms
        if horizon is not None and known and horizon.sequence >= feed.first_sequence - 1:
            self._position = horizon.sequence
        else:
            async for messages in self._read(streams.STATE, 1):
                yield messages
                self._position = _sequence_at_source(messages[-1])
            if self._position > feed.last_sequence:  # of an earlier QD_FEED
                self._position = 0
        async for messages in self.rest():
            yield messages

    async def rest(self) -> AsyncIterator[list[StoredMessage]]:
        """What was told since the last reading. Raises as `since`."""
        feed = await self._bus.stream_info(streams.FEED)
        if feed.last_sequence > self._position:
            async for messages in self._read(streams.FEED, self._position + 1):
                yield messages
            self._position = max(self._position, feed.last_sequence)

    def _read(self, stream: str, start_sequence: int) -> AsyncIterator[list[StoredMessage]]:
        filters = subjects.life_of_state()
        return self._bus.read(stream, filters, start_sequence=start_sequence, follow=False, batch=_PAGE)


def _sequence_at_source(message: StoredMessage) -> int:
    words = message.headers.get(_SOURCE, "").split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
