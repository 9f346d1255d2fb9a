"""A disk that takes nothing any more: a clear refusal, never a hang, and nothing that ran is lost."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from structlog.testing import capture_logs

from quarterdeck.agent.executor.service import Executor
from quarterdeck.agent.settings import ExecutorSettings
from quarterdeck.contracts.ids import new_id
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.unit.agent.conversation import Conversation
from tests.unit.agent.crash import JOURNAL, after_kill, records_of, successor


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """The kernel refuses to let any file grow beyond that: EFBIG, as a full disk says ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        with capture_logs():  # what pytest captures goes to a file as well
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_order_that_cannot_be_recorded_is_refused_and_never_starts(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I2: also when half of a record fits; and when there is room again, all goes on."""
    size_bytes = (settings.journal_dir / JOURNAL).stat().st_size
    with largest_file(size_bytes + 40):
        key = await link.shell(f"touch {tmp_path}/started")
        refused = await link.report(key, pb.Rejected)
    ended = await link.run("echo fine")

    assert refused.reason == "spool_full"
    assert not (tmp_path / "started").exists()
    assert ended.end == pb.SUCCEEDED
    assert records_of(settings)


async def test_command_that_runs_is_reported_from_memory(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I3: its end could not be recorded, so only a crash would lose it, and that would say so."""
    link.ack_reports = False
    gate = tmp_path / "gate"
    key = await link.shell(f"echo up; while [ ! -e {gate} ]; do sleep 0.01; done; exit 3")
    await link.until(lambda: link.stdout(key) == b"up\n")
    with largest_file((settings.journal_dir / JOURNAL).stat().st_size):
        gate.touch()
        result = await link.result(key)

    assert result.exit_code == 3
    async with successor(after_kill(settings, tmp_path / "killed")) as new_link:
        assert (await new_link.result(key)).end == pb.OUTCOME_UNKNOWN


async def test_cancel_that_cannot_be_recorded_is_not_acknowledged_but_kept(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I8: acknowledged when it is repeated and there is room again; until then nothing starts either."""
    key = (new_id(), 1)
    with largest_file((settings.journal_dir / JOURNAL).stat().st_size):
        await link.terminate(key)
        await link.shell(f"touch {tmp_path}/started", key=key)
        result = await link.result(key)
        assert link.of(key, pb.TerminateAck) == []

    assert result.end == pb.TERMINATED
    assert not (tmp_path / "started").exists()


async def test_spool_that_cannot_be_written_makes_the_child_wait(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I4 I9: nothing of the output is lost, and nothing grows."""
    link.ack_output = False
    done = tmp_path / "done"
    with largest_file(200_000):
        key = await link.shell(f"head -c 4000000 /dev/zero; touch {done}")
        await link.until_window_is_full(key)
        await asyncio.sleep(2.5)  # longer than it takes until output counts as stuck
        spooled = [path.stat().st_size for path in settings.spool_dir.iterdir()]
        assert not done.exists()
    link.ack_output = True
    await link.acknowledge_output(key, len(link.stdout(key)))
    result = await link.result(key)

    assert 0 < sum(spooled) <= 200_000
    assert result.stdout.length == len(link.stdout(key)) == 4_000_000


async def test_reserve_is_kept_for_what_runs(settings: ExecutorSettings) -> None:
    """New orders are refused before the disk is quite full."""
    executor = Executor(msgspec.structs.replace(settings, disk_reserve_bytes=2**62))
    await executor.start()
    link = Conversation(executor)
    await link.open()

    refused = await link.report(await link.shell("true"), pb.Rejected)

    assert refused.reason == "spool_full"
    await link.cut()
    await executor.stop(grace_s=0.2)


async def test_nothing_starts_in_a_stop_that_could_not_be_recorded(
    settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I8: nor when there is room again while the stop waits for what runs. The next executor finds them waiting."""
    executor = Executor(msgspec.structs.replace(settings, max_parallel=1))
    await executor.start()
    link = Conversation(executor)
    await link.open()
    running = await link.shell("trap 'sleep 0.2; exit' TERM; echo up; while :; do sleep 0.01; done")
    await link.until(lambda: link.stdout(running) == b"up\n")
    waiting = [await link.shell(f"touch {tmp_path}/started") for _ in range(2)]
    for key in waiting:
        await link.report(key, pb.Accepted)

    with largest_file((settings.journal_dir / JOURNAL).stat().st_size):
        stopping = asyncio.create_task(executor.stop(grace_s=5))
        await asyncio.sleep(0)
    await stopping
    await link.cut()

    assert not (tmp_path / "started").exists()
    async with successor(after_kill(settings, tmp_path / "killed")) as new_link:
        for key in waiting:
            await new_link.result(key)
