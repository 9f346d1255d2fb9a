"""The last part of a scope's messages, kept for those who are a little behind, encoded once per variant.

Pure data: hub.py fills it, watchers read from it at their own positions. There is no queue per watcher; a watcher that
falls off the ring reads the log itself until it is back.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from quarterdeck.broadcaster.handlers.frames import Variant, encode
from quarterdeck.core.bus import StoredMessage

BLOCK_BYTES: Final = 256 * 1024
"""Blocks are cut at about this much; also about what one write to a watcher holds."""


class Block:
    """Consecutive messages of the scope."""

    __slots__ = ("_encoded", "_messages", "first", "last", "size_bytes")

    def __init__(self, messages: Sequence[StoredMessage]) -> None:
        self._messages = messages
        self._encoded: dict[Variant, bytes] = {}
        self.first = messages[0].sequence
        self.last = messages[-1].sequence
        self.size_bytes = sum(len(message.body) for message in messages)

    def encoded(self, variant: Variant, after: int) -> bytes:
        """What lies after sequence `after`. The whole block is encoded once, however many ask."""
        if after >= self.first:
            return encode((message for message in self._messages if message.sequence > after), variant)
        if variant not in self._encoded:
            self._encoded[variant] = encode(self._messages, variant)
        return self._encoded[variant]


class Ring:
    """`held_after`: everything of the scope after this sequence is here, as far as it was read."""

    def __init__(self, after: int) -> None:
        self._blocks: deque[Block] = deque()
        self.held_after = after
        self.position = after
        """The last sequence read."""
        self.size_bytes = 0

    def append(self, messages: Sequence[StoredMessage]) -> None:
        for piece in _cut(messages):
            block = Block(piece)
            self._blocks.append(block)
            self.size_bytes += block.size_bytes
            self.position = block.last

    @property
    def oldest_last(self) -> int | None:
        """The last sequence of the block that would be dropped next; None when it is the only one."""
        return self._blocks[0].last if len(self._blocks) > 1 else None

    def drop_oldest(self) -> None:
        block = self._blocks.popleft()
        self.size_bytes -= block.size_bytes
        self.held_after = block.last

    def after(self, position: int) -> list[Block]:
        """Blocks with anything after `position`, oldest first. `position` must not be below `held_after`."""
        found: list[Block] = []
        for block in reversed(self._blocks):
            if block.last <= position:
                break
            found.append(block)
        found.reverse()
        return found


def _cut(messages: Sequence[StoredMessage]) -> Iterator[Sequence[StoredMessage]]:
    start = size_bytes = 0
    for index, message in enumerate(messages):
        size_bytes += len(message.body)
        if size_bytes >= BLOCK_BYTES:
            yield messages[start : index + 1]
            start, size_bytes = index + 1, 0
    if start < len(messages):
        yield messages[start:]
