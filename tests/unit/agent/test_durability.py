"""What the disk must hold before something else may happen: each sync gives the other every chance to come first."""

import os
import threading
from pathlib import Path

from quarterdeck.agent.executor.journal.journal import JournalSettings
from quarterdeck.agent.executor.service import Executor
from quarterdeck.agent.settings import ExecutorSettings
from quarterdeck.contracts.ids import new_id
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.unit.agent.conversation import Conversation

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


async def _linked(settings: ExecutorSettings, disk: _SlowDisk) -> tuple[Executor, Conversation]:
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
