"""The journal's bytes: whatever happens to a file, what comes out is a prefix of what went in."""

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.agent.executor.journal import records
from quarterdeck.agent.executor.journal.entries import CommandKey
from quarterdeck.agent.executor.journal.journal import Journal, JournalSettings
from quarterdeck.agent.executor.journal.log_file import JournalInUse, JournalUnwritable
from quarterdeck.contracts.links import Epoch

KEY = CommandKey("0192f0c0-aaaa", 1)
LIFE: list[records.Record] = [
    records.Opened(3),
    records.EpochSeen(1_700_000_000, 7, -12),
    records.Received(KEY, b"an order"),
    records.Starting(KEY, "batch", "boot"),
    records.Running(KEY, "batch", "boot", 4711, 123456),
    records.Exited(KEY, "batch", 9, b"result", records.StreamRest(5, 9, b"rest"), records.StreamRest(0, 0)),
    records.Reported([KEY]),
    records.Cancelled([CommandKey("0192f0c0-bbbb", 2)]),
]
FILE = b"".join(map(records.encode, LIFE))


def read(content: bytes) -> list[records.Record]:
    return [record for record, _ in records.read_records(io.BytesIO(content))]


def test_records_survive_their_bytes() -> None:
    assert read(FILE) == LIFE


def test_every_truncation_gives_a_prefix() -> None:
    """I2 I3: a write that was cut off at any byte."""
    for size in range(len(FILE)):
        found = read(FILE[:size])
        assert found == LIFE[: len(found)]
        assert size == len(FILE) or len(found) < len(LIFE)


def test_every_flipped_byte_gives_a_prefix() -> None:
    """I2 I3: a checksum over everything, the length included."""
    for position in range(len(FILE)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(FILE)
            damaged[position] ^= flip
            found = read(bytes(damaged))
            assert found == LIFE[: len(found)]
            assert len(found) < len(LIFE)


@given(st.binary(max_size=400))
def test_garbage_is_no_record(garbage: bytes) -> None:
    assert read(FILE + garbage)[: len(LIFE)] == LIFE


def test_zeros_are_no_records() -> None:
    """What some file systems leave after a power cut."""
    assert read(FILE + bytes(4096)) == LIFE
    assert records.is_torn(bytes(4096), 4096)


def test_record_of_a_newer_agent_is_not_taken_for_damage() -> None:
    """Cutting it off would forget what it says: better not to start."""
    with pytest.raises(records.RecordUnknown):
        read(FILE + records.frame(b"\x92\x63\x01"))


# ---- The file


def settings(directory: Path, **more: object) -> JournalSettings:
    return JournalSettings(directory=directory, boot_id="boot", **more)  # type: ignore[arg-type]


def opened(directory: Path, **more: object) -> Journal:
    journal = Journal(settings(directory, **more))
    journal.open()
    return journal


async def test_damage_at_every_byte_never_stops_an_executor(tmp_path: Path) -> None:
    """What is behind the damage is cut, and the next record is readable again."""
    path = tmp_path / "commands.journal"
    for position in range(0, len(FILE), 7):
        damaged = bytearray(FILE)
        damaged[position] ^= 0x55
        for content in (bytes(damaged), FILE[:position]):
            path.write_bytes(content)
            first = opened(tmp_path)
            first.received(CommandKey("new", 1), b"order", "")
            first.close()
            second = opened(tmp_path)
            assert second.find(CommandKey("new", 1)) is not None
            second.close()


async def test_runs_epoch_ends_and_cancels_are_remembered(tmp_path: Path) -> None:
    """I2 I8: also through a compaction."""
    journal = opened(tmp_path, compact_after_bytes=20_000)
    journal.epoch(Epoch(5, 17), 250)
    journal.cancel(CommandKey("early", 1))
    for n in range(500):
        entry = journal.received(CommandKey(f"c{n}", 1), bytes(100), "")
        journal.starting(entry)
        if n % 50:
            journal.exited(entry, records.Exited(entry.key, "", n, b"result"))
            journal.reported(entry)
    journal.close()

    again = opened(tmp_path)

    assert (tmp_path / "commands.journal").stat().st_size < 60_000
    assert (again.run, again.highest_epoch, again.clock_offset_ms) == (2, Epoch(5, 17), 250)
    assert again.cancelled(CommandKey("early", 1))
    assert all(again.find(CommandKey(f"c{n}", 1)) for n in range(500))
    assert len(list(again.open_entries())) == 10
    assert all(isinstance(again.latest(entry), records.Starting) for entry in again.open_entries())
    again.close()


async def test_two_executors_never_share_a_journal(tmp_path: Path) -> None:
    """I2: two of them would start a command twice."""
    first = opened(tmp_path)
    with pytest.raises(JournalInUse):
        opened(tmp_path)
    first.close()
    opened(tmp_path).close()


async def test_waiters_of_one_moment_share_one_sync(tmp_path: Path) -> None:
    """Group commit: under load one sync covers many commands."""
    syncs: list[int] = []
    journal = opened(tmp_path, sync=syncs.append)
    for n in range(32):
        journal.received(CommandKey(f"c{n}", 1), b"order", "")
        journal.durable()
    await journal.until_durable()

    assert len(syncs) == 1
    journal.close()


async def test_failed_sync_is_told_and_the_file_is_written_anew(tmp_path: Path) -> None:
    """After EIO the kernel may have dropped the pages: what is in the file is not certain any more."""
    fail = [True]

    def sync(descriptor: int) -> None:
        if fail.pop() if fail else False:
            raise OSError(5, "Input/output error")
        os.fdatasync(descriptor)

    journal = opened(tmp_path, sync=sync)
    journal.received(CommandKey("a", 1), b"order", "")
    with pytest.raises(JournalUnwritable):
        await journal.until_durable()
    inode = (tmp_path / "commands.journal").stat().st_ino

    journal.received(CommandKey("b", 1), b"order", "")
    await journal.until_durable()

    assert (tmp_path / "commands.journal").stat().st_ino != inode
    journal.close()
    again = opened(tmp_path)
    assert [entry.key.command_id for entry in again.open_entries()] == ["a", "b"]
    again.close()
