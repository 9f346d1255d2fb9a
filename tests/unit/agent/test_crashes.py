"""What an executor finds that another one left: nothing starts twice, nothing that was reported gets lost."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from quarterdeck.agent.executor import process_run
from quarterdeck.agent.executor.journal import records
from quarterdeck.agent.executor.journal.entries import CommandKey
from quarterdeck.agent.executor.journal.journal import JournalSettings
from quarterdeck.agent.executor.proc_table import boot_id
from quarterdeck.agent.executor.process import Spawned, SpawnRequest, spawn
from quarterdeck.agent.executor.service import Executor
from quarterdeck.agent.executor.watcher import Watcher
from quarterdeck.agent.settings import ExecutorSettings
from quarterdeck.contracts.ids import new_id
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.unit.agent.conversation import Conversation
from tests.unit.agent.crash import JOURNAL, SyncedPrefix, after_kill, records_of, successor
from tests.unit.agent.test_stopping import alive


async def test_start_is_durable_before_the_process_is_spawned(
    settings: ExecutorSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I2: after a power cut nobody else would know that it may have run."""
    sync = SyncedPrefix()
    executor = Executor(
        settings, journal=JournalSettings(directory=settings.journal_dir, boot_id=boot_id(), sync=sync)
    )
    await executor.start()
    durable: list[records.Record] = []

    def spawn_in_the_light(
        request: SpawnRequest, watcher: Watcher, on_exit: Callable[[int], None]
    ) -> Spawned:
        durable.extend(sync.records(settings))
        return spawn(request, watcher, on_exit)

    monkeypatch.setattr(process_run, "spawn", spawn_in_the_light)
    link = Conversation(executor)
    await link.open()

    key = await link.shell("true")
    await link.result(key)

    assert [type(record) for record in durable if getattr(record, "key", None) == key] == [
        records.Received,
        records.Starting,
    ]
    await link.cut()
    await executor.stop(grace_s=0.2)


async def test_nothing_is_promised_that_a_power_cut_could_take_back(settings: ExecutorSettings) -> None:
    """I1 I8: Accepted and TerminateAck come after the sync of what they say."""
    sync = SyncedPrefix()
    executor = Executor(
        settings, journal=JournalSettings(directory=settings.journal_dir, boot_id=boot_id(), sync=sync)
    )
    await executor.start()
    link = Conversation(executor)
    await link.open()
    early = (new_id(), 1)
    keys = [await link.shell("sleep 100") for _ in range(9)]  # one more than there are slots

    for key in keys:
        await link.report(key, pb.Accepted)
        assert any(isinstance(r, records.Received) and r.key == key for r in sync.records(settings))
    for key in (early, keys[8]):
        await link.terminate(key)
        await link.report(key, pb.TerminateAck)
        assert records.Cancelled([CommandKey(*key)]) in sync.records(settings)

    await link.cut()
    await executor.stop(grace_s=0.2)


async def test_killed_executor_cannot_know_the_end_and_ends_what_is_left(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I3: outcome_unknown, reported by itself; the process that went on is ended first, and never runs again."""
    log = tmp_path / "starts"
    key = await link.shell(f"echo $$ >> {log}; trap '' TERM; echo partly; sleep 100 & wait; sleep 100")
    await link.until(lambda: link.stdout(key) == b"partly\n")
    pid = int(log.read_text())

    async with successor(after_kill(settings, tmp_path / "killed")) as new_link:
        assert [(e.command_id, e.phase) for e in new_link.hello.journal] == [(key[0], pb.RUNNING)]
        result = await new_link.result(key)
        await new_link.shell("echo again", key=key)
        await new_link.result(await new_link.shell("true"))

        assert (result.end, result.reason) == (pb.OUTCOME_UNKNOWN, "executor_killed")
        assert not result.HasField("stdout")
        assert not alive(pid)
        assert log.read_text().count("\n") == 1


async def test_reboot_is_told_from_a_crash(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I3: nothing is left of the command, and no process of the new boot is taken for one of it."""
    key = await link.shell("echo $$; exec sleep 100")
    await link.until(lambda: link.stdout(key).endswith(b"\n"))

    async with successor(after_kill(settings, tmp_path / "down"), boot="another boot") as new_link:
        result = await new_link.result(key)

    assert (result.end, result.reason) == (pb.OUTCOME_UNKNOWN, "host_rebooted")
    assert alive(int(link.stdout(key)))


async def test_waiting_command_goes_on_waiting_after_a_crash(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I1 I8: what was accepted runs, once, with the whole of its order; what was cancelled does not."""
    link.ack_reports = False
    for _ in range(8):
        await link.shell("sleep 100")
    key = await link.shell("echo $GREETING", env={"GREETING": "hello"})
    cancelled = await link.shell(f"touch {tmp_path}/started")
    await link.report(key, pb.Accepted)
    await link.terminate(cancelled)
    await link.report(cancelled, pb.TerminateAck)

    async with successor(after_kill(settings, tmp_path / "killed")) as new_link:
        result = await new_link.result(key)
        assert result.end == pb.SUCCEEDED
        assert new_link.stdout(key) == b"hello\n"
        assert (await new_link.result(cancelled)).end == pb.TERMINATED
    assert not (tmp_path / "started").exists()


async def test_cancel_and_epoch_outlive_the_executor(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I2 I8"""
    cancelled = (new_id(), 1)
    await link.terminate(cancelled)
    await link.report(cancelled, pb.TerminateAck)

    async with successor(after_kill(settings, tmp_path / "killed")) as new_link:
        assert new_link.hello.highest_epoch == link.epoch
        await new_link.shell("true", key=cancelled)
        result = await new_link.result(cancelled)

    assert (result.end, result.started_at_ms) == (pb.TERMINATED, 0)


@pytest.mark.parametrize("size_bytes", [0, 5_000, 1_500_000])
async def test_result_and_the_rest_of_its_output_outlive_the_executor(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path, size_bytes: int
) -> None:
    """I4: the same report, the same bytes, from the acknowledged offset; in the journal or in the spool."""
    link.ack_output = link.ack_reports = False
    key = await link.shell(f"head -c {size_bytes} /dev/urandom; echo warning >&2; exit 3")
    before = await link.result(key)
    whole = link.stdout(key)
    await link.acknowledge_output(key, size_bytes // 2)

    killed = after_kill(settings, tmp_path / "killed")
    async with successor(killed) as new_link:
        new_link.output[*key, pb.STDOUT].take(pb.Output(chunk=whole[: size_bytes // 2]))
        after = await new_link.result(key)

        assert after == before
        assert (new_link.stdout(key), new_link.stderr(key)) == (whole, b"warning\n")
        await new_link.until(lambda: not list(killed.spool_dir.iterdir()))
    assert isinstance(records_of(killed)[-1], records.Reported)


async def test_reported_command_is_known_to_the_next_executor(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I2: a late duplicate of its order starts nothing."""
    log = tmp_path / "starts"
    key = await link.shell(f"echo start >> {log}")
    await link.result(key)
    await link.until(lambda: isinstance(records_of(settings)[-1], records.Reported))

    async with successor(after_kill(settings, tmp_path / "killed")) as new_link:
        await new_link.shell(f"echo start >> {log}", key=key)
        await new_link.result(await new_link.shell("true"))

    assert log.read_text() == "start\n"


async def test_reports_of_different_executors_never_share_a_number(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path
) -> None:
    """An acknowledgement that was meant for the last one confirms nothing of this one."""
    await link.result(await link.shell("true"))

    async with successor(after_kill(settings, tmp_path / "killed")) as new_link:
        await new_link.result(await new_link.shell("true"))
        numbers = {report.report_seq for report in new_link.reports}

    assert numbers.isdisjoint(report.report_seq for report in link.reports)


async def test_command_behind_damage_is_not_started_again(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I3: its order is intact, what came after is not; it may have run."""
    log = tmp_path / "starts"
    key = await link.shell(f"echo start >> {log}")
    await link.result(key)
    killed = after_kill(settings, tmp_path / "killed")
    path = killed.journal_dir / JOURNAL
    content = bytearray(path.read_bytes())
    with path.open("rb") as file:
        start = next(
            span.start for record, span in records.read_records(file) if isinstance(record, records.Starting)
        )
    content[start + 12] ^= 0xFF
    path.write_bytes(content)

    async with successor(killed) as new_link:
        result = await new_link.result(key)

    assert result.end == pb.OUTCOME_UNKNOWN
    assert log.read_text() == "start\n"
    assert (killed.journal_dir / "commands.damaged").exists()


@pytest.mark.parametrize("kept_bytes", [0, 1, 7, 8, 9, 65_543, 65_544, 65_545, 300_000])
async def test_cut_spool_gives_a_prefix_and_says_so(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path, kept_bytes: int
) -> None:
    """I4: never a hang, never called complete."""
    link.ack_output = link.ack_reports = False
    key = await link.shell("head -c 400000 /dev/urandom")
    await link.result(key)
    whole = link.stdout(key)
    killed = after_kill(settings, tmp_path / "killed")
    (spool,) = (path for path in killed.spool_dir.iterdir() if path.name.endswith("stdout"))
    os.truncate(spool, kept_bytes)

    async with successor(killed) as new_link:
        result = await new_link.result(key)

        found = new_link.stdout(key)
        assert whole.startswith(found)
        assert len(found) == kept_bytes // (65_536 + 8) * 65_536
        assert (result.stdout.length, result.stdout.truncated_bytes) == (len(found), 400_000 - len(found))
        assert result.stdout.sha256 != hashlib.sha256(whole).digest()


async def test_cancel_races_start_a_thousand_times(link: Conversation, tmp_path: Path) -> None:
    """I8: once TerminateAck is there and Started is not, nothing ever starts."""
    oracle = tmp_path / "oracle"
    keys = [(new_id(), 1) for _ in range(1000)]

    async def race(number: int) -> None:
        command = {"argv": ["/bin/sh", "-c", f"echo {keys[number][0]} >> {oracle}"]}
        if number % 10 == 0:
            await link.terminate(keys[number], grace_ms=0)
        await link.order("exec", command, key=keys[number])
        for _ in range(number % 7):
            await asyncio.sleep(0)
        if number % 5 == 4:
            await link.report(keys[number], pb.Accepted)
        await link.terminate(keys[number], grace_ms=0)
        await link.result(keys[number])

    await asyncio.gather(*map(race, range(1000)))

    started = {r.command_id for r in link.reports if isinstance(r, pb.Started)}
    acknowledged: set[str] = set()
    for report in link.reports:
        if isinstance(report, pb.TerminateAck):
            acknowledged.add(report.command_id)
        elif isinstance(report, pb.Started):
            assert report.command_id not in acknowledged
    ran = oracle.read_text().split() if oracle.exists() else []
    assert len(ran) == len(set(ran))
    assert set(ran) <= started
    assert len(acknowledged) == 1000
