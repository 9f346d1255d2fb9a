"""Output that nobody takes goes to disk, within bounds, and comes back byte by byte."""

import asyncio
import hashlib
from pathlib import Path

import msgspec
import pytest

from quarterdeck.agent.executor.journal.entries import CommandKey
from quarterdeck.agent.executor.service import Executor
from quarterdeck.agent.executor.spool import Spools, SpoolSettings
from quarterdeck.agent.executor.streams import RETAINED_BYTES
from quarterdeck.agent.settings import ExecutorSettings
from quarterdeck.core.clock import SystemClock
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.unit.agent.conversation import Conversation
from tests.unit.agent.crash import after_kill, successor

SIZE_BYTES = 6_000_000


async def test_child_goes_on_while_nobody_takes_its_output(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I4 I9: the link is dead for longer than memory lasts; nothing is lost, and the disk is free again afterwards."""
    link.ack_output = False
    done = tmp_path / "done"
    key = await link.shell(f"head -c {SIZE_BYTES} /dev/urandom; touch {done}")
    await link.until_window_is_full(key)
    await link.cut()
    while not done.exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.01)
    spooled_bytes = sum(path.stat().st_size for path in settings.spool_dir.iterdir())
    link.output.clear()

    link.ack_output = True
    await link.open()
    result = await link.result(key)

    assert spooled_bytes > SIZE_BYTES - 2 * RETAINED_BYTES
    assert hashlib.sha256(link.stdout(key)).digest() == result.stdout.sha256
    assert result.stdout.length == SIZE_BYTES
    await link.until(lambda: not list(settings.spool_dir.iterdir()))


async def test_spooled_output_outlives_the_executor(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I4: memory, then disk, in the stream's order."""
    link.ack_output = False
    key = await link.shell(f"head -c {SIZE_BYTES} /dev/urandom | tee {tmp_path}/printed")
    await link.until_window_is_full(key)
    while settings.journal_dir.exists() and not any(  # noqa: ASYNC110 - the end is only to be seen in the journal
        b"\xa6" in path.read_bytes() and path.stat().st_size > RETAINED_BYTES
        for path in settings.journal_dir.iterdir()
    ):
        await asyncio.sleep(0.05)

    async with successor(after_kill(settings, tmp_path / "killed")) as new_link:
        result = await new_link.result(key)

        assert result.stdout.length == SIZE_BYTES
        assert new_link.stdout(key) == (tmp_path / "printed").read_bytes()


async def test_child_waits_when_its_spool_is_full(settings: ExecutorSettings, tmp_path: Path) -> None:
    """I9"""
    executor = Executor(msgspec.structs.replace(settings, command_spool_bytes=500_000))
    await executor.start()
    link = Conversation(executor)
    await link.open()
    link.ack_output = False
    done = tmp_path / "done"
    key = await link.shell(f"head -c {SIZE_BYTES} /dev/zero; touch {done}")
    while sum(path.stat().st_size for path in settings.spool_dir.iterdir()) < 500_000:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.6)

    assert sum(path.stat().st_size for path in settings.spool_dir.iterdir()) < 600_000
    assert not done.exists()

    link.ack_output = True
    await link.acknowledge_output(key, len(link.stdout(key)))
    assert (await link.result(key)).stdout.length == SIZE_BYTES
    await link.cut()
    await executor.stop(grace_s=0.2)


@pytest.mark.parametrize("limit_bytes", [1, 1000, 100_000])
async def test_kept_output_has_a_limit_and_the_rest_is_counted(link: Conversation, limit_bytes: int) -> None:
    """I4: truncation is explicit, does not block the command, and the digest covers what was kept."""
    key = await link.shell("head -c 5000000 /dev/zero; echo problem >&2", max_output_bytes=limit_bytes)

    result = await link.result(key)

    assert result.end == pb.SUCCEEDED
    assert (result.stdout.length, result.stdout.truncated_bytes) == (limit_bytes, 5_000_000 - limit_bytes)
    assert result.stdout.sha256 == hashlib.sha256(bytes(limit_bytes)).digest()
    assert result.stderr.length == min(limit_bytes, 8)


@pytest.mark.parametrize("clock_offset_ms", [0, 3_600_000])
async def test_order_that_expires_while_it_waits_never_starts(
    link: Conversation, tmp_path: Path, clock_offset_ms: int
) -> None:
    """S0-19: by the server's clock, whatever ours says."""
    now_ms = SystemClock().now_ms() + clock_offset_ms
    await link.say(
        welcome=pb.Welcome(epoch=link.epoch, window_bytes=link.window_bytes, server_time_ms=now_ms)
    )
    busy = [await link.shell("sleep 100") for _ in range(8)]
    spec = pb.CommandSpec(command_type="exec", payload=b'{"argv": ["touch", "started"]}')
    for expires_ms, command_id in ((now_ms + 300, "waits"), (now_ms - 1, "is-late")):
        await link.say(
            order=pb.Order(
                command_id=command_id,
                attempt=1,
                epoch=link.epoch,
                spec=spec.SerializeToString(),
                expires_ms=expires_ms,
            )
        )

    for command_id in ("waits", "is-late"):
        result = await link.result((command_id, 1))
        assert (result.end, result.reason, result.started_at_ms) == (pb.TIMED_OUT, "delivery", 0)
    for key in busy:
        await link.terminate(key, grace_ms=0)
        await link.result(key)
    assert not (tmp_path / "started").exists()


def test_leftover_files_of_nobody_are_swept(tmp_path: Path) -> None:
    spools = Spools(
        SpoolSettings(directory=tmp_path, limit_bytes=10, command_limit_bytes=10, engaged=lambda: True)
    )
    for name in ("mine.1.stdout", "mine.2.stdout", "other.1.stderr", "rubbish"):
        (tmp_path / name).write_bytes(b"x")

    spools.prepare({CommandKey("mine", 1)})

    assert [path.name for path in tmp_path.iterdir()] == ["mine.1.stdout"]
