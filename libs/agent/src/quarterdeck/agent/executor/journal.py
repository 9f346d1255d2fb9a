"""What this agent knows of each command: the memory that keeps a command from starting twice.

Phases per (command_id, attempt): received → starting → running → exited → reported. A duplicate order is answered from
here; a cancel that came before its order is remembered; reports stay until they are acknowledged.

This journal lives in memory. Its methods that return an awaitable are the ones that a journal on disk has to make
durable before the caller may go on.
"""

from collections import OrderedDict
from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from quarterdeck.agent.executor.streams import CommandOutput

_REMEMBERED_ENDS: Final = 50_000
"""Ended and reported commands that are still recognised (about 15 MB). An order is repeated after seconds, rarely
minutes."""
_REMEMBERED_REPORTS_BYTES: Final = 8 * 1024 * 1024
"""Their reports, for the answer to a duplicate; the oldest go first."""
_REMEMBERED_CANCELS: Final = 10_000
"""Cancels whose order has not come."""


class CommandKey(NamedTuple):
    command_id: str
    attempt: int


class Phase(IntEnum):
    """As in the protocol; REPORTED is never sent, since the gateway knows everything by then."""

    RECEIVED = 1
    STARTING = 2
    RUNNING = 3
    EXITED = 4
    REPORTED = 5


class Report(NamedTuple):
    """One message that is repeated until acknowledged."""

    seq: int
    message: bytes
    """AgentMessage, serialised."""
    key: CommandKey
    output: CommandOutput | None = None
    """All of it goes out before this report."""
    final: bool = False


class Entry:
    """One command, from its order until it is forgotten."""

    __slots__ = ("batch_id", "key", "output", "phase", "reports")

    def __init__(self, key: CommandKey, batch_id: str) -> None:
        self.key = key
        self.batch_id = batch_id
        self.phase = Phase.RECEIVED
        self.output: CommandOutput | None = None
        self.reports: list[Report] = []
        """Everything reported so far, in order: the answer to a duplicate."""


class Journal(Protocol):
    """The phases of a command, and what must survive between them."""

    def find(self, key: CommandKey) -> Entry | None: ...

    def received(self, key: CommandKey, batch_id: str) -> Entry: ...

    async def starting(self, entry: Entry) -> None:
        """Returns when the intent to start is durable."""
        ...

    def running(self, entry: Entry) -> None: ...

    async def exited(self, entry: Entry) -> None:
        """Returns when the end is durable."""
        ...

    def reported(self, entry: Entry) -> None:
        """The gateway has the end: the entry may be forgotten in time."""
        ...

    def cancel_early(self, key: CommandKey) -> None:
        """Remember that an order that may still come must never start."""
        ...

    def cancelled_early(self, key: CommandKey) -> bool: ...

    def open_entries(self) -> Iterable[Entry]:
        """Commands whose end is not acknowledged, oldest first."""
        ...


class MemoryJournal:
    """A Journal that forgets everything with its process."""

    def __init__(self) -> None:
        self._open: dict[CommandKey, Entry] = {}
        self._ended: OrderedDict[CommandKey, tuple[Report, ...]] = OrderedDict()
        """With what was reported of them, while it is kept."""
        self._with_reports: OrderedDict[CommandKey, int] = OrderedDict()
        """Those of them whose reports are kept, and how many bytes."""
        self._reports_bytes = 0
        self._cancels: OrderedDict[CommandKey, None] = OrderedDict()

    def find(self, key: CommandKey) -> Entry | None:
        entry = self._open.get(key)
        if entry is None and (reports := self._ended.get(key)) is not None:
            entry = Entry(key, "")
            entry.phase = Phase.REPORTED
            entry.reports = list(reports)
        return entry

    def received(self, key: CommandKey, batch_id: str) -> Entry:
        entry = self._open[key] = Entry(key, batch_id)
        return entry

    async def starting(self, entry: Entry) -> None:
        entry.phase = Phase.STARTING

    def running(self, entry: Entry) -> None:
        entry.phase = Phase.RUNNING

    async def exited(self, entry: Entry) -> None:
        entry.phase = Phase.EXITED

    def reported(self, entry: Entry) -> None:
        if self._open.pop(entry.key, None) is None:
            return
        entry.phase = Phase.REPORTED
        entry.output = None
        self._ended[entry.key] = tuple(report._replace(output=None) for report in entry.reports)
        size = sum(len(report.message) for report in entry.reports)
        self._with_reports[entry.key] = size
        self._reports_bytes += size
        while self._reports_bytes > _REMEMBERED_REPORTS_BYTES:
            key, size = self._with_reports.popitem(last=False)
            self._reports_bytes -= size
            self._ended[key] = ()
        while len(self._ended) > _REMEMBERED_ENDS:
            key, _ = self._ended.popitem(last=False)
            self._reports_bytes -= self._with_reports.pop(key, 0)

    def cancel_early(self, key: CommandKey) -> None:
        self._cancels[key] = None
        while len(self._cancels) > _REMEMBERED_CANCELS:
            self._cancels.popitem(last=False)

    def cancelled_early(self, key: CommandKey) -> bool:
        return key in self._cancels

    def open_entries(self) -> Iterable[Entry]:
        return self._open.values()
