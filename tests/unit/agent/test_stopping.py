"""How commands are made to end: terminate with proof, timeouts, and what must not be touched."""

import asyncio
import fcntl
import os
import signal
import sys
from pathlib import Path
from typing import TextIO

import pytest

from quarterdeck.agent.executor.proc_table import read_stat
from quarterdeck.contracts.ids import new_id
from quarterdeck.testing.eventually import eventually
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.unit.agent.conversation import Conversation, Key


def alive(pid: int) -> bool:
    stat = read_stat(pid)
    return stat is not None and not stat.dead


async def printed_pids(link: Conversation, key: Key, count: int) -> list[int]:
    await link.until(lambda: link.stdout(key).count(b"\n") == count)
    return [int(line) for line in link.stdout(key).split()]


async def test_terminate_is_acknowledged_and_proven(link: Conversation) -> None:
    """S4-24 S4-27 I8: SIGTERM ends it within the grace, and the result says terminated."""
    key = await link.shell("echo $$; exec sleep 100")
    (pid,) = await printed_pids(link, key, 1)

    await link.terminate(key)
    result = await link.result(key)

    assert (result.end, result.signal) == (pb.TERMINATED, signal.SIGTERM)
    assert not alive(pid)
    assert len(link.of(key, pb.TerminateAck)) == 1


async def test_command_that_cleans_up_on_sigterm_is_given_its_grace(link: Conversation) -> None:
    key = await link.shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done")
    await link.until(lambda: b"up" in link.stdout(key))

    await link.terminate(key)
    result = await link.result(key)

    assert (result.end, result.exit_code) == (pb.TERMINATED, 0)
    assert link.stdout(key) == b"up\nbye\n"


async def test_tree_that_ignores_sigterm_and_hides_in_new_sessions_is_proven_gone(
    link: Conversation, tmp_path: Path
) -> None:
    """S4-27 I8: children that ignore SIGTERM, a double-forked daemon in a session of its own, a stopped process."""
    daemon = tmp_path / "daemon.py"
    daemon.write_text(
        "import os, signal, time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(os.getpid(), flush=True)\n"
        "null = os.open('/dev/null', os.O_RDWR)\n"
        "for fd in 0, 1, 2: os.dup2(null, fd)\n"
        "time.sleep(100)\n"
    )
    key = await link.shell(
        f"trap '' TERM; python3 {daemon}; sleep 100 & echo $!; sh -c 'echo $$; kill -STOP $$' & echo $$; wait"
    )
    pids = await printed_pids(link, key, 4)
    assert all(map(alive, pids))

    await link.terminate(key, grace_ms=100)
    result = await link.result(key)

    assert (result.end, result.signal) == (pb.TERMINATED, signal.SIGKILL)
    assert not any(map(alive, pids))


async def test_daemon_that_also_cleared_its_environment_is_found_through_its_parent(
    link: Conversation,
) -> None:
    key = await link.shell("env -i setsid sleep 100 & echo $!; wait")
    (pid,) = await printed_pids(link, key, 1)

    await link.terminate(key, grace_ms=100)
    result = await link.result(key)

    assert result.end == pb.TERMINATED
    assert not alive(pid)


async def test_fork_storm_is_stopped(link: Conversation) -> None:
    """Whoever is forked between two looks is caught by the next."""
    key = await link.shell("trap '' TERM; echo up; while :; do sleep 0.05 & sleep 0.01; done")
    await link.until(lambda: b"up" in link.stdout(key))

    await link.terminate(key, grace_ms=50)

    assert (await link.result(key)).end == pb.TERMINATED


async def test_process_that_is_never_where_one_looks_is_gone_all_the_same(
    link: Conversation, tmp_path: Path
) -> None:
    """I8: it forks and exits at every moment, so that a look at all processes may well miss it."""
    lock, hopper = tmp_path / "lock", tmp_path / "hopper.py"
    hopper.write_text(
        "import fcntl, os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "held = open(sys.argv[1], 'w')\n"
        "fcntl.flock(held, fcntl.LOCK_EX)\n"
        "print('up', flush=True)\n"
        "end_s = time.monotonic() + 30\n"
        "while time.monotonic() < end_s:\n"
        "    if os.fork(): os._exit(0)\n"
    )
    key = await link.shell(f"{sys.executable} -S {hopper} {lock}; sleep 100")
    await link.until(lambda: b"up" in link.stdout(key))

    await link.terminate(key, grace_ms=200)
    result = await link.result(key)

    assert result.end == pb.TERMINATED
    with lock.open() as file:  # its last holder is dead, or dies of what it was sent
        await eventually(lambda: _locked(file), within_s=10)


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def test_other_commands_survive_a_terminate(link: Conversation) -> None:
    bystander = await link.shell("echo $$; exec sleep 5")
    (pid,) = await printed_pids(link, bystander, 1)
    key = await link.shell("echo $$; exec sleep 100")
    await printed_pids(link, key, 1)

    await link.terminate(key)
    await link.result(key)

    assert alive(pid)
    await link.terminate(bystander)
    await link.result(bystander)


async def test_daemon_is_left_alone_when_its_command_ends_by_itself(link: Conversation) -> None:
    key = await link.shell("setsid sleep 100 >/dev/null 2>&1 & echo $!")
    (pid,) = await printed_pids(link, key, 1)

    assert (await link.result(key)).end == pb.SUCCEEDED

    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


async def test_execution_timeout_kills_the_tree(link: Conversation) -> None:
    """S0-19 S4-29: timed_out with reason execution; what it printed before is kept."""
    key = await link.shell("sleep 100 & echo $!; wait", timeout_ms=200)
    (pid,) = await printed_pids(link, key, 1)

    result = await link.result(key)

    assert (result.end, result.reason) == (pb.TIMED_OUT, "execution")
    assert not alive(pid)


async def test_silence_beyond_the_no_output_timeout_ends_the_command(link: Conversation) -> None:
    """S4-34"""
    result = await link.run("echo once; sleep 100", no_output_timeout_ms=200)

    assert (result.end, result.reason) == (pb.TIMED_OUT, "no_output")
    assert result.stdout.length == 5


async def test_output_keeps_a_command_with_a_no_output_timeout_alive(link: Conversation) -> None:
    result = await link.run(
        "for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.2; done", no_output_timeout_ms=1500
    )

    assert (result.end, result.stdout.length) == (pb.SUCCEEDED, 18)


async def test_command_that_we_hold_back_is_not_silent(link: Conversation) -> None:
    """The gateway takes nothing, so the child cannot write: that is no reason to call it silent."""
    link.ack_output = False
    key = await link.shell("head -c 5000000 /dev/zero; echo end >&2", no_output_timeout_ms=300)
    await link.until(lambda: len(link.stdout(key)) >= 1024 * 1024)
    await asyncio.sleep(0.7)

    link.ack_output = True
    await link.acknowledge_output(key, len(link.stdout(key)))
    result = await link.result(key)

    assert (result.end, result.stdout.length) == (pb.SUCCEEDED, 5_000_000)


@pytest.mark.parametrize("grace_ms", [0, 5000])
async def test_terminate_after_the_end_is_acknowledged_and_changes_nothing(
    link: Conversation, grace_ms: int
) -> None:
    key = await link.shell("echo done")
    before = await link.result(key)

    await link.terminate(key, grace_ms=grace_ms)
    await link.report(key, pb.TerminateAck)

    assert before.end == pb.SUCCEEDED
    assert {result.end for result in link.of(key, pb.Result)} == {pb.SUCCEEDED}


async def test_stop_of_an_order_that_never_came_says_so_however_often_it_is_asked(link: Conversation) -> None:
    """I8 I1: the order was lost on the way; if it comes after all, it does nothing."""
    key = (new_id(), 1)

    await link.terminate(key)
    await link.terminate(key)
    await link.until(lambda: len(link.of(key, pb.TerminateAck)) == 2)

    assert [ack.never_started for ack in link.of(key, pb.TerminateAck)] == [True, True]
    await link.shell("touch started", key=key)
    assert (await link.result(key)).end == pb.TERMINATED
    assert link.of(key, pb.Started) == []


async def test_stop_of_what_ran_does_not_say_that_it_never_started(link: Conversation) -> None:
    """I3"""
    key = await link.shell("true")
    await link.result(key)
    running = await link.shell("sleep 600")
    await link.report(running, pb.Started)

    await link.terminate(key)
    await link.terminate(running)

    for stopped in (key, running):
        assert not (await link.report(stopped, pb.TerminateAck)).never_started
    assert (await link.result(running)).end == pb.TERMINATED
