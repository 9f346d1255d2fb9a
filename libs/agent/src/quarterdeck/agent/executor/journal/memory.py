"""What is remembered of commands that are over, and of cancels whose order never came: bounded, oldest first out."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from quarterdeck.agent.executor.journal.entries import CommandKey, Entry, Phase, Report

REMEMBERED_ENDS: Final = 50_000
"""Ended and reported commands that are still recognised (about 15 MB). An order is repeated after seconds, rarely
minutes."""
_REMEMBERED_REPORTS_BYTES: Final = 8 * 1024 * 1024
"""Their reports, for the answer to a duplicate; the oldest go first. They do not outlive the process: the bus has them,
which is what an acknowledgement says."""
REMEMBERED_CANCELS: Final = 10_000
"""Cancels whose order has not come."""


class EndedCommands:
    """Commands whose end the gateway has confirmed: an order for one of them starts nothing."""

    def __init__(self) -> None:
        self._ended: OrderedDict[CommandKey, tuple[Report, ...]] = OrderedDict()
        """With what was reported of them, while it is kept."""
        self._with_reports: OrderedDict[CommandKey, int] = OrderedDict()
        """Those of them whose reports are kept, and how many bytes."""
        self._reports_bytes = 0

    def __iter__(self) -> Iterator[CommandKey]:
        """Oldest first."""
        return iter(self._ended)

    def __len__(self) -> int:
        return len(self._ended)

    def add(self, key: CommandKey, reports: Sequence[Report] = ()) -> None:
        self._ended[key] = tuple(report._replace(output=None) for report in reports)
        if reports:
            size = sum(len(report.message) for report in reports)
            self._with_reports[key] = size
            self._reports_bytes += size
        while self._reports_bytes > _REMEMBERED_REPORTS_BYTES:
            oldest, size = self._with_reports.popitem(last=False)
            self._reports_bytes -= size
            self._ended[oldest] = ()
        while len(self._ended) > REMEMBERED_ENDS:
            oldest, _ = self._ended.popitem(last=False)
            self._reports_bytes -= self._with_reports.pop(oldest, 0)

    def find(self, key: CommandKey) -> Entry | None:
        reports = self._ended.get(key)
        if reports is None:
            return None
        entry = Entry(key, "", Phase.REPORTED)
        entry.reports = list(reports)
        return entry


class Cancels:
    """Commands that must never start: their cancel came before their order, or while they waited."""

    def __init__(self) -> None:
        self._keys: OrderedDict[CommandKey, None] = OrderedDict()

    def __contains__(self, key: CommandKey) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[CommandKey]:
        """Oldest first."""
        return iter(self._keys)

    def add(self, keys: Iterable[CommandKey]) -> None:
        for key in keys:
            self._keys[key] = None
        while len(self._keys) > REMEMBERED_CANCELS:
            self._keys.popitem(last=False)

    def discard(self, key: CommandKey) -> None:
        """Its command is over."""
        self._keys.pop(key, None)
