"""The phases of this agent's commands, in memory for the living and on disk for those who come after a crash.

Per (command_id, attempt): received → starting → running → exited → reported. What must be durable, and when:

    received   before Accepted is said: from then on the server relies on us
    starting   before the process is spawned: after a power cut nobody else would know that it may have run
    cancelled  before TerminateAck is said: from then on nothing may start, also after a crash
    exited     written before the Result is said. When it is lost with the machine, the command becomes
               outcome_unknown, which the server ignores if it has the Result. A command that never started waits for
               the sync, since otherwise it could start after its end was reported
    epoch      written before Welcome takes effect. All that happens under it is written behind it, and a log is only
               ever lost from its end: whatever a later start knows of that link includes its epoch

Owns no processes and no messages; called by commands.py and reports.py, and at the start by recovery.py.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from quarterdeck.agent.executor.journal import records
from quarterdeck.agent.executor.journal.entries import CommandKey, Entry, Phase, Span
from quarterdeck.agent.executor.journal.log_file import JournalUnwritable, LogFile, Sync, sync_directory
from quarterdeck.agent.executor.journal.memory import Cancels, EndedCommands
from quarterdeck.contracts.links import Epoch
from quarterdeck.core import failpoints

log = structlog.get_logger()

_KEYS_PER_RECORD: Final = 1000
_TAIL_LOOK_BYTES: Final = 1024 * 1024


class JournalSettings(msgspec.Struct, frozen=True, kw_only=True):
    directory: Path
    boot_id: str
    """Of the running host: tells a reboot from a crash."""
    sync: Sync = os.fdatasync
    compact_after_bytes: int = 16 * 1024 * 1024
    """The file is rewritten when it has grown by this much: at 400 commands/s about every 40 s."""


class Journal:
    """Open it inside a running loop, before anything else is called."""

    def __init__(self, settings: JournalSettings) -> None:
        self._settings = settings
        self._log: LogFile
        self._compact_at_bytes = settings.compact_after_bytes
        self._open: dict[CommandKey, Entry] = {}
        self._ended = EndedCommands()
        self._cancels = Cancels()
        self._unwritten_cancels: set[CommandKey] = set()
        """Known to this process alone, and therefore not yet acknowledged."""
        self.run = 0
        """Which executor of this journal we are, from 1."""
        self.highest_epoch = Epoch(0, 0)
        self.clock_offset_ms = 0
        """What the server's clock was ahead of ours at the last Welcome."""
        self.damaged = False
        """Records were lost: a command that seems to wait may have started."""

    # ---- Opening

    def open(self) -> None:
        """Read what the last executor left. Raises OSError, JournalInUse, RecordUnknown."""
        directory = self._settings.directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._log = LogFile(directory / "commands.journal", self._settings.sync)
        try:
            self._read()
            sync_directory(directory)
        except BaseException:
            self._log.close()
            raise
        self.run += 1
        self._compact_at_bytes += self._log.size_bytes
        self._try_append(records.Opened(self.run))

    def close(self) -> None:
        self._log.close()

    def _read(self) -> None:
        intact_bytes = 0
        with self._log.reader() as file:
            for record, span in records.read_records(file):
                self._apply(record, span)
                intact_bytes = span.end
            size_bytes = file.seek(0, os.SEEK_END)
            if size_bytes > intact_bytes:
                file.seek(intact_bytes)
                tail = file.read(_TAIL_LOOK_BYTES)
                self.damaged = not records.is_torn(tail, size_bytes - intact_bytes)
                log.warning(
                    "executor.journal_tail_cut", cut_bytes=size_bytes - intact_bytes, damaged=self.damaged
                )
                if self.damaged:
                    with contextlib.suppress(OSError):  # for people; the agent does without
                        self._settings.directory.joinpath("commands.damaged").write_bytes(tail)
        self._log.cut(intact_bytes)

    def _apply(self, record: records.Record, span: Span) -> None:
        match record:
            case records.Opened():
                self.run = max(self.run, record.run)
            case records.EpochSeen():
                self.highest_epoch = max(self.highest_epoch, Epoch(record.incarnation, record.revision))
                self.clock_offset_ms = record.clock_offset_ms
            case records.Received():
                self._found(record.key, "", Phase.RECEIVED, span)
            case records.Starting():
                self._found(record.key, record.batch_id, Phase.STARTING, span)
            case records.Running():
                self._found(record.key, record.batch_id, Phase.RUNNING, span)
            case records.Exited():
                self._found(record.key, record.batch_id, Phase.EXITED, span)
            case records.Reported():
                for key in record.keys:
                    self._open.pop(key, None)
                    self._cancels.discard(key)
                    self._ended.add(key)
            case records.Cancelled():
                self._cancels.add(record.keys)

    def _found(self, key: CommandKey, batch_id: str, phase: Phase, span: Span) -> None:
        entry = self._open.setdefault(key, Entry(key, batch_id, phase))
        if phase >= entry.phase:
            entry.phase, entry.batch_id, entry.span = phase, batch_id, span

    def latest(self, entry: Entry) -> records.Record | None:
        """The record that says where `entry` stands."""
        if entry.span is None:
            return None
        return records.decode(self._log.read(entry.span))

    # ---- Asking

    def find(self, key: CommandKey) -> Entry | None:
        return self._open.get(key) or self._ended.find(key)

    def open_entries(self) -> Iterable[Entry]:
        """Commands whose end is not acknowledged, oldest first."""
        return self._open.values()

    def cancelled(self, key: CommandKey) -> bool:
        """Whether it must never start."""
        return key in self._cancels

    def durable(self) -> "asyncio.Future[None]":
        """Done when everything so far is durable. Shared: never cancel it; to wait, use `until_durable`."""
        if self._log.unsound:  # a sync says nothing any more, but of a new file
            with contextlib.suppress(JournalUnwritable):
                self._compact()
        return self._log.durable()

    async def until_durable(self) -> None:
        """Raises JournalUnwritable."""
        await asyncio.shield(self.durable())

    # ---- Phases

    def received(self, key: CommandKey, order: bytes, batch_id: str, guest: str = "") -> Entry:
        """Raises JournalUnwritable: then the order must be refused."""
        span = self._append(records.Received(key, order))
        entry = self._open[key] = Entry(key, batch_id)
        entry.guest = guest
        entry.span = span
        failpoints.reach("executor.after_received")
        return entry

    def refused(self, key: CommandKey, batch_id: str) -> Entry:
        """A command that never was: it has an end to report, and nothing else."""
        entry = self._open[key] = Entry(key, batch_id)
        return entry

    def starting(self, entry: Entry) -> None:
        """Wait for `durable` before it starts. Raises JournalUnwritable: then it must not."""
        entry.span = self._append(
            records.Starting(entry.key, entry.batch_id, self._settings.boot_id, entry.guest)
        )
        entry.phase = Phase.STARTING

    def running(self, entry: Entry, pid: int, started_ticks: int) -> None:
        entry.phase = Phase.RUNNING
        span = self._try_append(
            records.Running(
                entry.key, entry.batch_id, self._settings.boot_id, pid, started_ticks, entry.guest
            )
        )
        entry.span = span or entry.span
        failpoints.reach("executor.after_running")

    def exited(self, entry: Entry, exited: records.Exited) -> bool:
        """False: it could not be written, and is known to this process alone."""
        entry.phase = Phase.EXITED
        span = self._try_append(exited)
        entry.span = span or entry.span
        failpoints.reach("executor.after_exited")
        return span is not None

    def reported(self, entry: Entry) -> None:
        """The gateway has the end: the entry may be forgotten in time."""
        if self._open.pop(entry.key, None) is None:
            return
        entry.phase = Phase.REPORTED
        entry.output = None
        self._ended.add(entry.key, entry.reports)
        self._cancels.discard(entry.key)
        self._unwritten_cancels.discard(entry.key)
        self._try_append(records.Reported([entry.key]))
        failpoints.reach("executor.after_reported")

    def cancel(self, key: CommandKey) -> None:
        """An order for it, come or to come, must never start.

        Raises JournalUnwritable: it won't while this process lives, but that is no promise; try again.
        """
        if key in self._cancels and key not in self._unwritten_cancels:
            return
        self._cancels.add([key])
        self._unwritten_cancels.add(key)
        self._append(records.Cancelled([key]))
        self._unwritten_cancels.discard(key)

    def epoch(self, epoch: Epoch, clock_offset_ms: int) -> None:
        self.highest_epoch = max(self.highest_epoch, epoch)
        self.clock_offset_ms = clock_offset_ms
        self._try_append(
            records.EpochSeen(self.highest_epoch.incarnation, self.highest_epoch.revision, clock_offset_ms)
        )

    # ---- Writing

    def _append(self, record: records.Record) -> Span:
        if self._log.unsound or self._log.size_bytes > self._compact_at_bytes:
            self._compact()
        return self._log.append(records.encode(record))

    def _try_append(self, record: records.Record) -> Span | None:
        """For what a restart would miss, but nobody has to wait for."""
        try:
            return self._append(record)
        except JournalUnwritable as error:
            log.warning("executor.record_lost", kind=type(record).__name__, error=error.message)
            return None

    def _compact(self) -> None:
        """Write everything that still matters to a new file. Raises JournalUnwritable when the old one is unsound."""
        entries = [(entry, entry.span) for entry in self._open.values() if entry.span is not None]
        head = [records.encode(record) for record in self._summary()]
        try:
            spans = self._log.rewrite((*head, *(self._log.read(span) for _, span in entries)))
        except JournalUnwritable as error:
            log.warning("executor.compaction_failed", error=error.message)
            self._compact_at_bytes = self._log.size_bytes + self._settings.compact_after_bytes
            if self._log.unsound:
                raise
            return
        for (entry, _), span in zip(entries, spans[len(head) :], strict=True):
            entry.span = span
        self._compact_at_bytes = self._log.size_bytes + self._settings.compact_after_bytes
        log.debug("executor.journal_compacted", size_bytes=self._log.size_bytes)

    def _summary(self) -> Iterable[records.Record]:
        yield records.Opened(self.run)
        epoch = self.highest_epoch
        yield records.EpochSeen(epoch.incarnation, epoch.revision, self.clock_offset_ms)
        for kind, keys in ((records.Reported, list(self._ended)), (records.Cancelled, list(self._cancels))):
            for first in range(0, len(keys), _KEYS_PER_RECORD):
                yield kind(keys[first : first + _KEYS_PER_RECORD])
