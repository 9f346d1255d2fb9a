"""Orders of a foreign link that are not written yet, by priority, and the stops that came before their orders. Pure.

Called by the link. An order stays here until it is written, so that whatever happens before gives it back.
"""

import heapq
from collections import Counter
from collections.abc import Iterator
from typing import Final

from quarterdeck.contracts.links import Epoch
from quarterdeck.gateway.foreign.command import ForeignCommand

Key = tuple[str, int]
"""Command id and attempt."""

_REMEMBERED_STOPS: Final = 4096
_REMOVED_AT_MOST: Final = 256
"""Entries of removed orders that the heap keeps besides those that wait: an order may be as large as its payload."""


class WaitingOrders:
    def __init__(self) -> None:
        self._heap: list[tuple[tuple[int, int], ForeignCommand]] = []
        """May hold what was removed since; `_by_key` decides."""
        self._by_key: dict[Key, ForeignCommand] = {}
        self._by_type: Counter[str] = Counter()
        """How many of each command type wait."""
        self.queued_bytes = 0
        """What those that wait take, specs included."""
        self._stops: dict[Key, None] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[ForeignCommand]:
        """A snapshot, in no order."""
        return iter(list(self._by_key.values()))

    def add(self, command: ForeignCommand) -> None:
        heapq.heappush(self._heap, (command.queued.rank, command))
        self._by_key[command.key] = command
        self._by_type[command.spec.command_type] += 1
        self.queued_bytes += command.queued.size_bytes

    def find(self, key: Key) -> ForeignCommand | None:
        return self._by_key.get(key)

    def remove(self, key: Key) -> ForeignCommand | None:
        """None when it is not here any more."""
        command = self._by_key.pop(key, None)
        if command is not None:
            command_type = command.spec.command_type
            self._by_type[command_type] -= 1
            if not self._by_type[command_type]:
                del self._by_type[command_type]
            self.queued_bytes -= command.queued.size_bytes
            if len(self._heap) > 2 * len(self._by_key) + _REMOVED_AT_MOST:
                self._forget_removed()
        return command

    def of_other_epochs(self, epoch: Epoch) -> list[ForeignCommand]:
        """What was ordered for another link."""
        return [command for command in self._by_key.values() if command.order.epoch != epoch]

    def next(self, limit: int, *, running: Counter[str], most_of_a_type: int | None) -> list[ForeignCommand]:
        """Up to `limit` orders that may be written now; they stay here until they are removed.

        `running`: how many commands of each type run; `most_of_a_type`: how many may, None: any number.
        """
        taken: list[ForeignCommand] = []
        held_back: list[tuple[tuple[int, int], ForeignCommand]] = []
        room = {
            command_type: limit if most_of_a_type is None else most_of_a_type - running[command_type]
            for command_type in self._by_type
        }
        # Types with room. Without them nothing is looked at, however many orders wait for one long command.
        able = {command_type for command_type, left in room.items() if left > 0}
        while self._heap and len(taken) < limit and able:
            entry = heapq.heappop(self._heap)
            command = entry[1]
            if self._by_key.get(command.key) is not command:
                continue
            command_type = command.spec.command_type
            if command_type not in able:
                held_back.append(entry)
                continue
            taken.append(command)
            room[command_type] -= 1
            if not room[command_type]:
                able.remove(command_type)
        for entry in held_back:
            heapq.heappush(self._heap, entry)
        return taken

    def _forget_removed(self) -> None:
        self._heap = [entry for entry in self._heap if self._by_key.get(entry[1].key) is entry[1]]
        heapq.heapify(self._heap)

    def remember_stop(self, key: Key) -> None:
        """An order of this key that comes from now on must not start."""
        self._stops[key] = None
        if len(self._stops) > _REMEMBERED_STOPS:
            del self._stops[next(iter(self._stops))]

    def is_stopped(self, key: Key) -> bool:
        return key in self._stops
