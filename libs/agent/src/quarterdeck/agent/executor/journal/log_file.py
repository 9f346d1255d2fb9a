"""The journal's file: appends from the event loop, group commit in one worker thread, and what a full disk does to it.

`append` is a write(2): what it took survives the death of this process, but not of the machine. `durable` is for what
must survive that as well. All who ask while a sync is under way share the next one, so that under load one sync covers
many commands; alone, a caller waits for one sync and the way to the thread and back (0.3 ms on a plain SSD).

Does not know what is in a record. Called by journal.py.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from quarterdeck.agent.executor.journal.entries import Span
from quarterdeck.contracts.errors import QuarterdeckError
from quarterdeck.core import failpoints

log = structlog.get_logger()

_CLOSED: Final = -1

Sync = Callable[[int], None]
"""Makes durable what was written to a file descriptor, as os.fdatasync does. Raises OSError."""


class JournalUnwritable(QuarterdeckError):
    """Nothing was recorded: the disk is full, over quota, or failing. What needs a record must not happen."""

    code = "journal_unwritable"


class JournalInUse(QuarterdeckError):
    """Another executor has this journal open; two would start a command twice."""

    code = "journal_in_use"


class LogFile:
    """One append-only file. Make it inside a running loop."""

    def __init__(self, path: Path, sync: Sync) -> None:
        """Opens or creates `path`. Raises OSError, JournalInUse."""
        self.size_bytes = 0
        """Where the next record goes. The owner sets it with `cut`, after it has read what is there."""
        self._path = path
        self._sync = sync
        self._loop = asyncio.get_running_loop()
        self._lock = _lock(path.with_suffix(".lock"))
        path.with_suffix(".new").unlink(missing_ok=True)  # of a rewrite that was cut off
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._retired: list[int] = []
        """Replaced files that a sync may still be busy with."""
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._written = self._synced = 0
        """Appends so far, and how many of them are durable."""
        self._current: asyncio.Future[None] | None = None
        self._current_covers = 0
        self._next: asyncio.Future[None] | None = None
        self._unsound = False
        """What the file holds is not certain any more; `rewrite` makes it anew."""

    @property
    def unsound(self) -> bool:
        return self._unsound

    def reader(self) -> BinaryIO:
        """The whole file, from its start; the caller closes it."""
        return self._path.open("rb")

    def read(self, span: Span) -> bytes:
        return os.pread(self._descriptor, span.end - span.start, span.start)

    def cut(self, size_bytes: int) -> None:
        """Forget everything from `size_bytes` on. Raises OSError."""
        os.ftruncate(self._descriptor, size_bytes)
        self.size_bytes = size_bytes

    def append(self, record: bytes) -> Span:
        """Returns when the kernel has it. Raises JournalUnwritable; then nothing of it is in the file."""
        if self._unsound or self._descriptor == _CLOSED:
            raise JournalUnwritable("the journal is closed, or has to be rewritten first")
        try:
            written = os.write(self._descriptor, record)
        except OSError as error:
            written, cause = 0, error.strerror or "write failed"
        else:
            cause = "no space left"
        if written < len(record):
            self._take_back()
            raise JournalUnwritable(f"the journal cannot be written: {cause}")
        span = Span(self.size_bytes, self.size_bytes + written)
        self.size_bytes = span.end
        self._written += 1
        return span

    def rewrite(self, records: Iterable[bytes]) -> list[Span]:
        """Replace the content by `records`, durably and all or nothing. Raises JournalUnwritable.

        Blocks the loop for the writes and two syncs: some 20 ms per megabyte-sized journal, every few tens of
        thousands of commands.
        """
        if self._descriptor == _CLOSED:  # the file may be another executor's by now
            raise JournalUnwritable("the journal is closed")
        path = self._path.with_suffix(".new")
        spans, size_bytes = [], 0
        descriptor = -1
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(os.dup(descriptor), "wb") as file:
                for record in records:
                    file.write(record)
                    spans.append(Span(size_bytes, size_bytes + len(record)))
                    size_bytes += len(record)
            self._sync(descriptor)
            path.rename(self._path)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            path.unlink(missing_ok=True)
            raise JournalUnwritable(f"the journal cannot be rewritten: {error.strerror}") from error
        # What has this name is our file from now on, also if nobody can say which one a power cut would leave.
        self._retired.append(self._descriptor)
        self._descriptor, self.size_bytes = descriptor, size_bytes
        try:
            sync_directory(self._path.parent)
        except OSError as error:
            self._unsound = True
            log.error("executor.journal_sync_failed", error=repr(error))
        else:
            self._unsound = False
            self._synced = self._written
        self._close_retired()
        return spans

    # ---- Durability

    def durable(self) -> "asyncio.Future[None]":
        """Done when all that was appended so far is durable; shared by all who ask meanwhile: do not cancel it.

        Ends in JournalUnwritable when the disk fails.
        """
        if self._current is not None and self._current_covers >= self._written:
            return self._current
        if self._next is None:
            self._next = self._loop.create_future()
            if self._synced >= self._written:
                done, self._next = self._next, None
                done.set_result(None)
                return done
            # At the end of this turn: whoever appends in it comes along.
            self._loop.call_soon(self._begin)
        return self._next

    def _begin(self) -> None:
        if self._current is not None or self._next is None:
            return
        if self._unsound:
            failed, self._next = self._next, None
            _fail(failed, "the journal has to be rewritten first")
            return
        self._current, self._next = self._next, None
        self._current_covers = self._written
        sync = self._loop.run_in_executor(self._worker, self._sync_once, self._descriptor)
        sync.add_done_callback(partial(self._end, self._current, self._current_covers, self._descriptor))

    def _sync_once(self, descriptor: int) -> None:
        failpoints.reach("executor.before_fsync")
        self._sync(descriptor)

    def _end(
        self, waiters: "asyncio.Future[None]", covered: int, descriptor: int, sync: "asyncio.Future[None]"
    ) -> None:
        self._current = None
        self._close_retired()
        error = None if sync.cancelled() else sync.exception()
        if error is None:
            self._synced = max(self._synced, covered)
            waiters.set_result(None)
        else:
            # The kernel may have dropped the pages, and the next sync would lie. Source: fsync(2), "EIO".
            self._unsound = self._unsound or descriptor == self._descriptor
            log.error("executor.journal_sync_failed", error=repr(error))
            _fail(waiters, f"the journal cannot be synced: {error}")
        self._begin()

    # ---- The rest

    def close(self) -> None:
        """After a last sync, if there is anything to sync."""
        self._worker.shutdown(wait=True)
        if self._written > self._synced:
            with contextlib.suppress(OSError):
                self._sync(self._descriptor)
        self._current = None
        self._close_retired()
        os.close(self._descriptor)
        os.close(self._lock)
        self._descriptor = _CLOSED  # the number will be somebody else's

    def _take_back(self) -> None:
        """Half a record at the end would hide whatever is appended after it."""
        try:
            os.ftruncate(self._descriptor, self.size_bytes)
        except OSError:
            self._unsound = True

    def _close_retired(self) -> None:
        if self._current is None:
            for descriptor in self._retired:
                os.close(descriptor)
            self._retired.clear()


def _fail(waiters: "asyncio.Future[None]", cause: str) -> None:
    waiters.set_exception(JournalUnwritable(cause))
    waiters.exception()  # somebody may have asked for durability without waiting for it


def sync_directory(directory: Path) -> None:
    """Makes creations and renames in it durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int:
    """Held until closed, or until this process dies. Source: flock(2)."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise JournalInUse(f"{path.parent} is in use by another executor") from None
    return descriptor
