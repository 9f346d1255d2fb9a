"""An executor's start and stop, beside others and in between: what it may touch, and what outlives it."""

import os
from pathlib import Path

import pytest

from quarterdeck.agent.executor.journal.log_file import JournalInUse
from quarterdeck.agent.executor.service import Executor
from quarterdeck.agent.settings import ExecutorSettings
from quarterdeck.contracts.ids import new_id
from quarterdeck.core.clock import SystemClock
from quarterdeck.testing.eventually import eventually
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.unit.agent.conversation import Conversation


async def test_second_executor_of_a_directory_touches_nothing_of_the_first(
    link: Conversation, settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I2: it is refused, and the script that the first one is running is still there."""
    gate = tmp_path / "gate"
    script = f'#!/bin/sh\necho up\nwhile [ ! -e {gate} ]; do sleep 0.01; done\ntest -e "$0"\n'
    key = await link.order("shell", {"script": script})
    await link.until(lambda: link.stdout(key) == b"up\n")

    with pytest.raises(JournalInUse):
        await Executor(settings).start()
    gate.touch()

    assert (await link.result(key)).end == pb.SUCCEEDED


async def test_what_is_said_to_a_stopped_executor_goes_into_nobodys_file(
    settings: ExecutorSettings, tmp_path: Path
) -> None:
    """I4: the journal's descriptor may be somebody else's by then, and the front is still on its link."""
    executor = Executor(settings)
    await executor.start()
    link = Conversation(executor)
    await link.open()
    await link.cut()
    await executor.stop(grace_s=0.2)
    paths = [tmp_path / f"file-{number}" for number in range(20)]
    descriptors = [os.open(path, os.O_CREAT | os.O_WRONLY) for path in paths]

    await link.say(welcome=link.welcome())
    await link.terminate((new_id(), 1))

    for descriptor in descriptors:
        os.close(descriptor)
    assert [path.stat().st_size for path in paths] == [0] * 20


async def test_stopping_executor_leaves_no_process_behind(settings: ExecutorSettings) -> None:
    """S4-31: however much time somebody else had given it to end."""
    executor = Executor(settings)
    await executor.start()
    link = Conversation(executor)
    await link.open()
    key = await link.shell("trap '' TERM; echo $$; while :; do sleep 0.05; done")
    await link.until(lambda: link.stdout(key).endswith(b"\n"))
    await link.terminate(key, grace_ms=600_000)
    await link.report(key, pb.TerminateAck)

    await link.cut()
    await executor.stop(grace_s=0.2)

    process = Path(f"/proc/{int(link.stdout(key))}/stat")
    await eventually(lambda: not process.exists() or b") Z " in process.read_bytes(), within_s=10)


class _SetClock(SystemClock):
    """One that somebody sets."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@pytest.mark.parametrize("ahead_ms", [-86_400_000, 86_400_000])
async def test_clock_that_is_set_makes_no_order_expire_and_none_outlive_its_time(
    settings: ExecutorSettings, ahead_ms: int
) -> None:
    """S0-19: a machine may learn what the time is only after its agent is on a link."""
    clock = _SetClock()
    executor = Executor(settings, clock=clock)
    await executor.start()
    link = Conversation(executor)
    await link.open()
    now_ms = SystemClock().now_ms()
    await link.say(
        welcome=pb.Welcome(epoch=link.epoch, window_bytes=link.window_bytes, server_time_ms=now_ms)
    )

    clock.ahead_ms = ahead_ms
    ends = {}
    for command_id, expires_ms in (("in-time", now_ms + 3_600_000), ("late", now_ms - 1)):
        spec = pb.CommandSpec(command_type="exec", payload=b'{"argv": ["true"]}')
        order = pb.Order(command_id=command_id, attempt=1, epoch=link.epoch, expires_ms=expires_ms)
        order.spec = spec.SerializeToString()
        await link.say(order=order)
        ends[command_id] = (await link.result((command_id, 1))).end

    assert ends == {"in-time": pb.SUCCEEDED, "late": pb.TIMED_OUT}
    await link.cut()
    await executor.stop(grace_s=0.2)
