"""The log for watchers who fell off the ring: one piece at a time, and few of them at once.

A watcher holds no reader of the feed between two pieces, so one that stalls costs what it was last given and nothing
else, and two hundred that all fell behind wait for each other here instead of taking the bus away from everybody.
Called by watcher.py.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

from quarterdeck.broadcaster.ring import BLOCK_BYTES
from quarterdeck.contracts.limits import MAX_MESSAGE_BYTES
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus, StoredMessage

_AT_ONCE: Final = 4
"""Pieces that are read at the same time, by all watchers of this process."""
_PIECE_MESSAGES: Final = 500
_PULL_BYTES: Final = MAX_MESSAGE_BYTES + 64 * 1024
"""Must hold the largest message, headers included."""


class LogReader:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def after(self, sequence: int, filters: Sequence[str]) -> list[StoredMessage]:
        """What lies behind `sequence`: about BLOCK_BYTES, or all when there is less; empty at the end of the log.

        Raises Unavailable, StreamReplaced.
        """
        piece: list[StoredMessage] = []
        size_bytes = 0
        async with self._slots:
            reading = self._bus.read(
                FEED,
                filters,
                start_sequence=sequence + 1,
                follow=False,
                batch=_PIECE_MESSAGES,
                pull_bytes=_PULL_BYTES,
            )
            async with aclosing(reading):
                async for messages in reading:
                    piece += messages
                    size_bytes += sum(len(message.body) for message in messages)
                    if size_bytes >= BLOCK_BYTES or len(piece) >= _PIECE_MESSAGES:
                        break
        return piece
