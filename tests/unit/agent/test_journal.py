"""Nothing starts twice, nothing starts after a cancel, nothing that was reported gets lost."""

from pathlib import Path

import msgspec

from quarterdeck.agent.executor.journal.entries import CommandKey, Report
from quarterdeck.agent.executor.journal.memory import REMEMBERED_CANCELS, Cancels, EndedCommands
from quarterdeck.agent.executor.service import Executor
from quarterdeck.agent.settings import ExecutorSettings
from quarterdeck.contracts.ids import new_id
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.unit.agent.conversation import Conversation


async def test_duplicate_order_starts_once_and_is_answered_again(link: Conversation, tmp_path: Path) -> None:
    """S0-9 I2: while it runs, and after its end."""
    log, gate = tmp_path / "starts", tmp_path / "gate"
    command = f"echo start >> {log}; while [ ! -e {gate} ]; do sleep 0.01; done"
    key = await link.shell(command)
    await link.report(key, pb.Started)

    await link.shell(command, key=key)
    await link.until(lambda: len(link.of(key, pb.Started)) == 2)
    gate.touch()
    await link.result(key)
    await link.shell(command, key=key)
    await link.until(lambda: len(link.of(key, pb.Result)) == 2)

    assert log.read_text() == "start\n"
    assert len({result.report_seq for result in link.of(key, pb.Result)}) == 1


async def test_next_attempt_is_another_start(link: Conversation) -> None:
    """S4-37: attempts have a life of their own."""
    retried = new_id()
    first = await link.shell("echo one", key=(retried, 1))
    second = await link.shell("echo two", key=(retried, 2))

    await link.result(first)
    await link.result(second)

    assert (link.stdout(first), link.stdout(second)) == (b"one\n", b"two\n")


async def test_cancel_before_the_order_means_it_never_starts(link: Conversation, tmp_path: Path) -> None:
    """I8: the cancel overtook its order."""
    key = (new_id(), 1)
    await link.terminate(key)
    await link.report(key, pb.TerminateAck)

    await link.shell(f"touch {tmp_path}/started", key=key)
    result = await link.result(key)

    assert (result.end, result.started_at_ms) == (pb.TERMINATED, 0)
    assert link.of(key, pb.Started) == []
    assert not (tmp_path / "started").exists()


async def test_terminated_while_waiting_for_a_slot_never_starts(link: Conversation, tmp_path: Path) -> None:
    """S4-24 I8"""
    busy = [await link.shell("sleep 100") for _ in range(8)]
    key = await link.shell(f"touch {tmp_path}/started")
    await link.report(key, pb.Accepted)

    await link.terminate(key)
    result = await link.result(key)
    for other in busy:
        await link.terminate(other, grace_ms=0)
        await link.result(other)

    assert (result.end, result.started_at_ms) == (pb.TERMINATED, 0)
    assert not (tmp_path / "started").exists()


async def test_waiting_commands_start_by_priority(link: Conversation, tmp_path: Path) -> None:
    """S0-32 S0-39F: ten before five before one, however they came."""
    gate = tmp_path / "gate"
    busy = [await link.shell(f"while [ ! -e {gate} ]; do sleep 0.01; done") for _ in range(8)]
    waiting = [await link.shell("sleep 0.05", priority=priority) for priority in (1, 5, 10) * 8]

    gate.touch()
    for key in (*busy, *waiting):
        await link.result(key)

    started = [(r.command_id, r.attempt) for r in link.reports if isinstance(r, pb.Started)]
    priorities = [(1, 5, 10)[waiting.index(key) % 3] for key in started if key in waiting]
    assert priorities == sorted(priorities, reverse=True)


async def test_result_is_repeated_on_every_link_until_acknowledged(link: Conversation) -> None:
    """S0-37 S4-33: a report that may have been lost with its link is said again, with the same number."""
    link.ack_reports = False
    key = await link.shell("echo hello")
    first = await link.result(key)

    hello = await link.open()
    await link.until(lambda: len(link.of(key, pb.Result)) == 2)
    await link.acknowledge(*(report.report_seq for report in link.reports))
    empty = await link.open()
    other = await link.shell("true")
    await link.result(other)

    assert [(entry.command_id, entry.phase) for entry in hello.journal] == [(key[0], pb.EXITED)]
    assert {result.report_seq for result in link.of(key, pb.Result)} == {first.report_seq}
    assert len(link.of(key, pb.Result)) == 2
    assert list(empty.journal) == []


async def test_hello_tells_the_journal_the_epoch_and_what_can_be_done(link: Conversation) -> None:
    """A new link starts with what only the agent knows."""
    command_id = new_id()
    await link.say(
        order=pb.Order(
            command_id=command_id,
            attempt=3,
            epoch=link.epoch,
            batch_id="batch-1",
            spec=pb.CommandSpec(
                command_type="shell", payload=b'{"command": "printf 12345; sleep 100"}'
            ).SerializeToString(),
        )
    )
    await link.until(lambda: link.stdout((command_id, 3)) == b"12345")

    hello = await link.open()

    (entry,) = hello.journal
    assert (entry.command_id, entry.attempt, entry.batch_id, entry.phase) == (
        command_id,
        3,
        "batch-1",
        pb.RUNNING,
    )
    assert (entry.stdout_offset, entry.stderr_offset) == (5, 0)
    assert (hello.highest_epoch.incarnation, hello.highest_epoch.revision) == (1, 1)
    assert list(hello.capabilities) == ["exec", "shell"]


async def test_order_of_an_older_epoch_is_ignored(link: Conversation) -> None:
    old = link.epoch
    await link.open()
    current, link.epoch = link.epoch, old
    ignored = await link.shell("echo old")
    link.epoch = current

    await link.result(await link.shell("echo new"))

    assert [r for r in link.reports if r.command_id == ignored[0]] == []


async def test_orders_wait_when_too_many_ends_are_unconfirmed(settings: ExecutorSettings) -> None:
    """The journal in Hello, and memory, stay bounded although a gateway confirms nothing."""
    executor = Executor(msgspec.structs.replace(settings, max_unacknowledged_commands=2))
    await executor.start()
    link = Conversation(executor)
    link.ack_reports = False
    await link.open()
    keys = [await link.shell("true") for _ in range(20)]
    await link.until(lambda: len({r.command_id for r in link.reports if isinstance(r, pb.Result)}) >= 2)
    ended = {r.command_id for r in link.reports if isinstance(r, pb.Result)}

    link.ack_reports = True
    await link.acknowledge(*(report.report_seq for report in link.reports))
    for key in keys:
        await link.result(key)

    assert len(ended) <= settings.max_parallel + 2
    await link.cut()
    await executor.stop(grace_s=0.2)


def test_oldest_reports_are_forgotten_but_not_that_a_command_was_there() -> None:
    ended = EndedCommands()
    keys = [CommandKey(f"c{n}", 1) for n in range(30)]
    for n, key in enumerate(keys):
        ended.add(key, [Report(n, bytes(1024 * 1024), key, final=True)])

    remembered = [ended.find(key) for key in keys]

    assert all(remembered)
    assert 1 <= sum(bool(entry and entry.reports) for entry in remembered) <= 8
    assert ended.find(keys[-1]).reports  # type: ignore[union-attr]


def test_early_cancels_are_bounded() -> None:
    cancels = Cancels()
    cancels.add(CommandKey(f"c{n}", 1) for n in range(REMEMBERED_CANCELS + 1))

    assert CommandKey("c0", 1) not in cancels
    assert CommandKey(f"c{REMEMBERED_CANCELS}", 1) in cancels
