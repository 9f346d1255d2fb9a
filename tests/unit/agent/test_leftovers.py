"""What commands leave behind, and what a broken gateway may send: the executor copes with both."""

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import pytest

from quarterdeck.agent.executor.proc_table import MARKER_VARIABLE, ProcTable, read_stat, send_signal
from quarterdeck.agent.executor.reaper import Reaper
from quarterdeck.agent.executor.service import Executor
from quarterdeck.contracts.errors import DecodeError
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.unit.agent.conversation import Conversation


async def test_orphans_of_commands_are_adopted_and_reaped(link: Conversation) -> None:
    """S1-14: nothing of a command stays behind for ever, not even a zombie."""
    key = await link.shell("setsid sh -c 'exec sleep 100' > /dev/null 2>&1 & echo $!")
    await link.result(key)
    pid = int(link.stdout(key))
    adopted = read_stat(pid)
    assert adopted is not None
    assert adopted.parent == os.getpid()
    os.kill(pid, signal.SIGKILL)
    while not (stat := read_stat(pid)) or not stat.dead:  # noqa: ASYNC110 - the kernel tells nobody
        await asyncio.sleep(0.01)

    reaper = Reaper(ProcTable(), lambda _: False)
    reaper.sweep()
    reaper.sweep()

    assert read_stat(pid) is None


async def test_zombie_that_a_run_still_tracks_is_left_to_it(link: Conversation) -> None:
    child = await asyncio.create_subprocess_exec("true", start_new_session=True)
    while not (stat := read_stat(child.pid)) or not stat.dead:
        if stat is None:
            break  # asyncio's own watcher was quicker
        await asyncio.sleep(0.01)

    reaper = Reaper(ProcTable(), lambda pid: pid == child.pid)
    reaper.sweep()
    reaper.sweep()

    assert await child.wait() == 0


async def test_daemon_can_go_on_writing_to_the_pipe_that_it_inherited(
    link: Conversation, tmp_path: Path
) -> None:
    """Its command ended long ago: the bytes go nowhere, but the daemon does not die of it."""
    done = tmp_path / "done"
    key = await link.shell(f"(sleep 0.3; head -c 1000000 /dev/zero; touch {done}) & echo started")
    result = await link.result(key)

    while not done.exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.01)

    assert result.stdout.length == len("started\n")


async def test_garbage_from_the_front_is_refused_and_harms_nothing(
    link: Conversation, executor: Executor
) -> None:
    """Undecodable frames are DecodeError; decodable nonsense is ignored."""
    rng = random.Random(20)
    for _ in range(300):
        try:
            await executor.send(rng.randbytes(rng.randrange(200)))
        except DecodeError:
            pass
    for body in (
        {"report_ack": pb.ReportAck(report_seq=[0, 999, 2**64 - 1])},
        {"output_ack": pb.OutputAck(command_id="nobody", attempt=1, stream=pb.STDOUT, offset=5)},
        {"output_ack": pb.OutputAck()},
        {"inventory_request": pb.InventoryRequest(request_id=1, kind="?")},
    ):
        await link.say(**body)

    assert (await link.run("echo fine")).end == pb.SUCCEEDED


async def test_acknowledgement_beyond_what_exists_is_cut_down(link: Conversation) -> None:
    """I4: a gateway that acknowledges too much cannot make the agent skip bytes."""
    link.ack_output = False
    key = await link.shell("printf 12345; read x; sleep 0.2; printf 67890")
    await link.until(lambda: link.stdout(key) == b"12345")

    await link.acknowledge_output(key, 1000)
    await link.result(key)

    assert link.stdout(key) == b"1234567890"


async def test_inventory_of_commands_lists_what_can_be_run(executor: Executor) -> None:
    link = Conversation(executor)
    await link.open()

    await link.say(inventory_request=pb.InventoryRequest(request_id=7, kind="commands"))
    await link.until(lambda: bool(link.reports))

    reply = link.reports[0]
    assert (reply.request_id, reply.items, reply.error) == (7, b'["exec","shell"]', "")
    await link.cut()


def test_process_is_known_by_pid_and_start_so_a_recycled_pid_is_safe() -> None:
    pid = os.posix_spawn("/bin/sleep", ["sleep", "100"], {MARKER_VARIABLE: "c.1", "PATH": "/bin"})
    stat = read_stat(pid)
    assert stat is not None

    send_signal(stat._replace(started_ticks=stat.started_ticks - 1), signal.SIGKILL)
    still_there = read_stat(pid)
    while (marker := ProcTable().marker(stat)) is None:
        time.sleep(0.001)  # its environment appears a moment after the exec
    send_signal(stat, signal.SIGKILL)

    assert still_there is not None
    assert not still_there.dead
    assert marker == "c.1"
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1])
def test_pid_of_nobody_has_no_stat(pid: int) -> None:
    assert read_stat(pid) is None
