"""What the disk must hold before something else may happen: each sync gives the other every chance to come first."""

import asyncio
import errno
import os
import threading
from pathlib import Path

import msgspec
import pytest

from quarterdeck.agent.executor.journal import log_file
from quarterdeck.agent.executor.journal.journal import JournalSettings
from quarterdeck.agent.executor.journal.log_file import Sync, sync_directory
from quarterdeck.agent.executor.journal.records import Starting
from quarterdeck.agent.executor.service import Executor
from quarterdeck.agent.settings import ExecutorSettings
from quarterdeck.contracts.ids import new_id
from quarterdeck.testing.eventually import eventually
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.unit.agent.conversation import Conversation, Key
from tests.unit.agent.crash import records_of

_CHANCE_S = 0.3


class _SlowDisk:
    """Syncs in its own time; remembers whether anything of `watched` happened before the first sync was over."""

    def __init__(self, watched: Path) -> None:
        self.too_early = False
        self.syncs = 0
        self._watched = watched
        self._patience = threading.Event()

    def __call__(self, descriptor: int) -> None:
        if self.syncs == 0:
            for _ in range(30):
                if self._watched.exists():
                    break
                self._patience.wait(_CHANCE_S / 30)
            self.too_early = self._watched.exists()
        os.fdatasync(descriptor)
        self.syncs += 1


async def _linked(settings: ExecutorSettings, disk: Sync) -> tuple[Executor, Conversation]:
    journal = JournalSettings(directory=settings.journal_dir, boot_id="b", sync=disk)
    executor = Executor(settings, journal=journal)
    await executor.start()
    link = Conversation(executor)
    await link.open()
    return executor, link


async def test_nothing_starts_before_the_intent_is_on_disk(
    settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I2: after a power cut, what may have started is known."""
    disk = _SlowDisk(tmp_path / "started")
    executor, link = await _linked(settings, disk)

    result = await link.run(f"touch {tmp_path}/started")

    assert result.end == pb.SUCCEEDED
    assert disk.syncs > 0
    assert not disk.too_early
    await link.cut()
    await executor.stop(grace_s=0.2)


async def test_no_cancel_is_acknowledged_before_it_is_on_disk(
    settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I8: what was promised never to start doesn't, also after a power cut."""
    disk = _SlowDisk(tmp_path / "never")
    executor, link = await _linked(settings, disk)
    key = (new_id(), 1)

    await link.terminate(key)
    await link.report(key, pb.TerminateAck)

    assert disk.syncs > 0
    await link.cut()
    await executor.stop(grace_s=0.2)


class _FailingDisk:
    """Its second sync waits for a word, and fails; later ones of the same file lie, as a kernel's may."""

    def __init__(self) -> None:
        self.failing = threading.Event()
        self.go_on = threading.Event()
        self.failed: os.stat_result | None = None
        self.lies = 0
        self._armed = False

    def arm(self) -> None:
        self._armed = True

    def __call__(self, descriptor: int) -> None:
        if self._armed:
            self._armed = False
            self.failing.set()
            self.go_on.wait(10)
            self.failed = os.fstat(descriptor)
            raise OSError(errno.EIO, "Input/output error")
        self.lies += self.failed is not None and os.path.samestat(self.failed, os.fstat(descriptor))


async def test_sync_after_one_that_failed_is_not_believed(settings: ExecutorSettings, tmp_path: Path) -> None:
    """I2: whoever asked while it failed has nothing on disk either; then all goes on with a new file."""
    disk = _FailingDisk()
    executor, link = await _linked(settings, disk)

    disk.arm()
    first = await link.shell(f"touch {tmp_path}/started")
    await eventually(disk.failing.is_set)
    second = await link.shell(f"touch {tmp_path}/started")
    await asyncio.sleep(0)  # it asks for a sync of its own
    disk.go_on.set()
    refused = [await link.report(key, pb.Rejected) for key in (first, second)]
    ended = await link.run("echo fine")

    assert [report.reason for report in refused] == ["spool_full", "spool_full"]
    assert not (tmp_path / "started").exists()
    assert (ended.end, disk.lies) == (pb.SUCCEEDED, 0)
    await link.cut()
    await executor.stop(grace_s=0.2)


async def _ended(link: Conversation, key: Key) -> None:
    await link.until(lambda: bool(link.of(key, pb.Result) or link.of(key, pb.Rejected)))


async def test_file_whose_name_could_not_be_synced_is_replaced_once_more(
    settings: ExecutorSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I2: what is written goes where the next executor looks for it."""
    failures: list[Path] = []

    def fail_once(directory: Path) -> None:
        if not failures:
            failures.append(directory)
            raise OSError(errno.EIO, "Input/output error")
        sync_directory(directory)

    journal = JournalSettings(directory=settings.journal_dir, boot_id="b", compact_after_bytes=600)
    executor = Executor(settings, journal=journal)
    await executor.start()
    link = Conversation(executor)
    await link.open()
    monkeypatch.setattr(log_file, "sync_directory", fail_once)

    while not failures:
        await _ended(link, await link.shell("true"))
    last = await link.shell("true")
    await link.result(last)

    assert any(isinstance(record, Starting) and record.key == last for record in records_of(settings))
    await link.cut()
    await executor.stop(grace_s=0.2)


async def test_cancel_that_was_not_synced_is_kept_and_acknowledged_when_it_is(
    settings: ExecutorSettings,
) -> None:
    """I1 I8: asked for again, it is on disk first, and the command that waited has its end."""
    disk = _FailingDisk()
    executor, link = await _linked(msgspec.structs.replace(settings, max_parallel=1), disk)
    busy = await link.shell("sleep 100")
    await link.report(busy, pb.Started)
    key = await link.shell("true")
    await link.report(key, pb.Accepted)

    disk.arm()
    await link.terminate(key)
    disk.go_on.set()
    await eventually(lambda: disk.failed is not None)
    await asyncio.sleep(0)
    assert link.of(key, pb.TerminateAck) == []
    await link.terminate(key)
    await link.report(key, pb.TerminateAck)

    assert (await link.result(key, timeout_s=10)).end == pb.TERMINATED
    assert disk.lies == 0
    await link.terminate(busy, grace_ms=0)
    await link.result(busy)
    await link.cut()
    await executor.stop(grace_s=0.2)
