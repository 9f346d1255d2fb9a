"""Commands in a guest, through a real qemu-ga: started, live, ended, stopped with proof, as on any machine."""

import hashlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from quarterdeck.agent.settings import ExecutorSettings
from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.machines import HostGuestAgent
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.integration.agent.guests import GUEST, executor_settings, hypervisor
from tests.unit.agent.conversation import Conversation


@pytest.fixture
def settings(tmp_path: Path, guest_agent_process: HostGuestAgent) -> ExecutorSettings:
    return executor_settings(tmp_path, guest_agent_process.socket_path.parent, "qga")


@pytest.fixture
async def link(settings: ExecutorSettings) -> AsyncIterator[Conversation]:
    async with hypervisor(settings) as link:
        yield link


async def test_shell_command_in_a_guest_looks_like_one_on_any_machine(link: Conversation) -> None:
    """S2-13, S2-23F"""
    key = await link.shell("printf out; printf err >&2; exit 3", guest=GUEST)

    result = await link.result(key)

    assert (result.end, result.exit_code, result.error) == (pb.FAILED, 3, "exit code 3")
    assert (link.stdout(key), link.stderr(key)) == (b"out", b"err")
    assert result.stdout.sha256 == hashlib.sha256(b"out").digest()
    assert [type(report) for report in link.reports] == [pb.Accepted, pb.Started, pb.Result]
    assert 0 < result.started_at_ms <= result.completed_at_ms


async def test_script_argv_directory_and_environment_reach_the_guest(
    link: Conversation, tmp_path: Path
) -> None:
    """S2-13"""
    script = await link.order(
        "shell", {"script": "#!/bin/sh -e\nfalse | true; echo $-; false; echo no"}, guest=GUEST
    )
    program = await link.order(
        "exec",
        {"argv": ["/bin/sh", "-c", 'echo "$1 $OWN $QUARTERDECK_COMMAND"', "sh", "a b"]},
        guest=GUEST,
        env={"OWN": "c d"},
        working_directory=str(tmp_path),
    )

    assert (await link.result(script)).exit_code == 1, "its own first line is obeyed"
    assert link.stdout(script) == b"e\n"
    assert (await link.result(program)).end == pb.SUCCEEDED
    assert link.stdout(program).decode() == f"a b c d {program[0]}.1\n"


async def test_output_arrives_while_the_command_runs(link: Conversation, tmp_path: Path) -> None:
    """S2-23F: live, not at the end."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    key = await link.shell(f"echo first; read line < {gate}; echo $line", guest=GUEST)

    await link.until(lambda: link.stdout(key) == b"first\n")
    gate.write_text("second\n")

    assert (await link.result(key)).end == pb.SUCCEEDED
    assert link.stdout(key) == b"first\nsecond\n"


async def test_more_than_the_guests_agent_can_hold_arrives_byte_exact(link: Conversation) -> None:
    """S2-24F: qemu-ga itself cuts at 16 MiB."""
    link.keep_content = False
    command = "f=$(mktemp); head -c 40000000 /dev/urandom > $f; cat $f; sha256sum < $f >&2; rm $f"
    key = await link.shell(command, guest=GUEST)

    result = await link.result(key, timeout_s=100)

    assert (result.end, result.stdout.length) == (pb.SUCCEEDED, 40_000_000)
    told = link.output[*key, pb.STDERR]
    assert (
        told.digest.hexdigest() == hashlib.sha256(result.stdout.sha256.hex().encode() + b"  -\n").hexdigest()
    )


async def test_qga_exec_answers_how_it_ended(link: Conversation) -> None:
    """S2-13, S2-14"""
    payload = {"path": "sh", "arg": ["-c", "cat; echo $A; exit 4"], "env": ["A=b=c"], "input_data": "aGkK"}
    key = await link.order("qga.exec", payload, guest=GUEST)

    result = await link.result(key)

    assert (result.end, result.exit_code) == (pb.FAILED, 4)
    assert link.stdout(key) == b"hi\nb=c\n"
    assert msgspec.json.decode(result.result) == {
        "exited": True,
        "exit_code": 4,
        "signal": None,
        "out_truncated": False,
        "err_truncated": False,
    }


async def test_output_that_nobody_wants_is_thrown_away(link: Conversation) -> None:
    """S2-13: capture_output."""
    payload = {"path": "/bin/sh", "arg": ["-c", "echo out; echo err >&2"], "capture_output": False}
    key = await link.order("qga.exec", payload, guest=GUEST)

    result = await link.result(key)

    assert (result.end, result.stdout.length, result.stderr.length) == (pb.SUCCEEDED, 0, 0)


async def test_qga_shell_runs_its_command(link: Conversation) -> None:
    """S2-15"""
    key = await link.order("qga.shell", {"command": "echo $((6 * 7)) | cat"}, guest=GUEST)

    assert (await link.result(key)).end == pb.SUCCEEDED
    assert link.stdout(key) == b"42\n"


async def test_program_that_a_signal_ended_and_one_that_is_missing_are_told_apart(link: Conversation) -> None:
    killed = await link.shell("kill -USR1 $$", guest=GUEST)
    missing = await link.order("exec", {"argv": ["no-such-program"]}, guest=GUEST)

    killed_result, missing_result = await link.result(killed), await link.result(missing)

    assert (killed_result.signal, killed_result.reason) == (signal.SIGUSR1, "signal")
    assert (missing_result.end, missing_result.exit_code) == (pb.FAILED, 127)


async def test_text_that_no_guest_can_be_told_is_refused_and_nothing_is_started(link: Conversation) -> None:
    """S2-25F: QEMU's JSON has no noncharacters; a script goes another way, and may hold them."""
    told = await link.shell("echo \ufffe", guest=GUEST)
    script = await link.order("shell", {"script": "printf '%s' \ufffe"}, guest=GUEST)

    refused, carried = await link.result(told), await link.result(script)

    assert (refused.end, refused.reason) == (pb.FAILED, "guest_refused")
    assert (carried.end, link.stdout(script)) == (pb.SUCCEEDED, "\ufffe".encode())


async def test_terminate_ends_the_whole_tree_in_the_guest(link: Conversation) -> None:
    """S2-23F: SIGTERM is ignored, a grandchild has a session of its own; nothing is left when the end is told."""
    command = "trap '' TERM; setsid sleep 600 & echo $!; sleep 600 & echo $!; echo $$; wait; wait"
    key = await link.shell(command, guest=GUEST)
    await link.until(lambda: link.stdout(key).count(b"\n") == 3)

    await link.terminate(key, grace_ms=100)
    result = await link.result(key)

    assert (result.end, result.signal) == (pb.TERMINATED, signal.SIGKILL)
    assert not any(_lives(int(pid)) for pid in link.stdout(key).split())


async def test_timeout_and_silence_end_a_command_in_a_guest(link: Conversation) -> None:
    slow = await link.shell("while :; do echo on; sleep 0.1; done", guest=GUEST, timeout_ms=700)
    silent = await link.shell("echo once; sleep 600", guest=GUEST, no_output_timeout_ms=400)

    slow_result, silent_result = await link.result(slow), await link.result(silent)

    assert (slow_result.end, slow_result.reason) == (pb.TIMED_OUT, "execution")
    assert (silent_result.end, silent_result.reason) == (pb.TIMED_OUT, "no_output")
    assert link.stdout(silent) == b"once\n"


async def test_commands_share_one_guest(link: Conversation) -> None:
    """S2-6, S2-23F: each gets its own output and its own end."""
    keys = [await link.shell(f"echo {n}; sleep 0.1; exit {n}", guest=GUEST) for n in range(12)]

    results = [await link.result(key) for key in keys]

    assert [result.exit_code for result in results] == list(range(12))
    assert [link.stdout(key) for key in keys] == [b"%d\n" % n for n in range(12)]


async def test_command_whose_output_nobody_takes_waits_in_the_guest(settings: ExecutorSettings) -> None:
    """Memory stays bounded, and so does the guest's disk: the command is paused until somebody takes its output."""
    async with hypervisor(msgspec.structs.replace(settings, command_spool_bytes=1024 * 1024)) as link:
        link.ack_output = False
        key = await link.shell("echo $$; while :; do echo 'a line of some length'; done", guest=GUEST)
        await link.until_window_is_full(key)
        pid = int(link.stdout(key).split()[0])

        await eventually(lambda: _state(pid) == "T", within_s=40)

        assert len(link.stdout(key)) <= link.window_bytes
        await link.terminate(key, grace_ms=1000)
        link.ack_output = True
        await link.acknowledge_output(key, len(link.stdout(key)))
        assert (await link.result(key)).end == pb.TERMINATED
        assert not _lives(pid)


async def test_files_of_a_command_are_gone_from_the_guest_after_its_end(link: Conversation) -> None:
    key = await link.shell("readlink /proc/$$/fd/1", guest=GUEST)

    await link.result(key)

    output_file = Path(link.stdout(key).decode().strip())
    assert output_file.name
    await eventually(lambda: not output_file.exists())


async def test_guest_whose_agent_is_killed_leaves_its_commands_unknown(
    link: Conversation, guest_agent_process: HostGuestAgent
) -> None:
    """A guest that vanishes midway: nobody can say what became of the command; the next one is refused at once."""
    key = await link.shell("echo $$; sleep 600", guest=GUEST)
    await link.until(lambda: link.stdout(key) != b"")

    await guest_agent_process.kill()
    result = await link.result(key, timeout_s=60)
    after = await link.run("true", guest=GUEST)

    assert (result.end, result.reason) == (pb.OUTCOME_UNKNOWN, "guest_lost")
    assert link.stdout(key).endswith(b"\n")
    assert (after.end, after.reason) == (pb.FAILED, "guest_unreachable")


def _lives(pid: int) -> bool:
    return _state(pid) not in {"", "Z"}


def _state(pid: int) -> str:
    """Of a process, as /proc has it; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
