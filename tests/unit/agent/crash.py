"""Deaths of an executor, without the death: another one starts with what the first left on disk at that moment."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from quarterdeck.agent.executor.journal.journal import JournalSettings
from quarterdeck.agent.executor.journal.records import Record, read_records
from quarterdeck.agent.executor.proc_table import boot_id
from quarterdeck.agent.executor.service import Executor
from quarterdeck.agent.settings import ExecutorSettings
from tests.unit.agent.conversation import Conversation

JOURNAL = "commands.journal"


class SyncedPrefix:
    """Stands in for fdatasync and remembers what it made durable: the rest is what a power cut takes."""

    def __init__(self) -> None:
        self.synced_bytes = 0
        self.syncs = 0

    def __call__(self, descriptor: int) -> None:
        self.syncs += 1
        self.synced_bytes = os.fstat(descriptor).st_size

    def records(self, settings: ExecutorSettings) -> list[Record]:
        return records_of(settings, self.synced_bytes)


def records_of(settings: ExecutorSettings, size_bytes: int | None = None) -> list[Record]:
    """What the journal says, as far as `size_bytes`."""
    path = settings.journal_dir / JOURNAL
    shorter = path.with_suffix(".copy")
    shorter.write_bytes(path.read_bytes()[:size_bytes])
    with shorter.open("rb") as file:
        return [record for record, _ in read_records(file)]


def after_kill(settings: ExecutorSettings, directory: Path) -> ExecutorSettings:
    """Settings of an executor that finds what the one of `settings` has written."""
    for source in (settings.journal_dir, settings.spool_dir):
        shutil.copytree(source, directory / source.name)
    return msgspec.structs.replace(
        settings,
        journal_dir=directory / settings.journal_dir.name,
        spool_dir=directory / settings.spool_dir.name,
    )


@asynccontextmanager
async def successor(settings: ExecutorSettings, *, boot: str | None = None) -> AsyncIterator[Conversation]:
    """A new executor on what is there, with an open link. `boot`: another boot of the host."""
    journal = JournalSettings(directory=settings.journal_dir, boot_id=boot or boot_id())
    executor = Executor(settings, journal=journal)
    await executor.start()
    link = Conversation(executor)
    await link.open()
    try:
        yield link
    finally:
        await link.cut()
        await executor.stop(grace_s=0.2)
