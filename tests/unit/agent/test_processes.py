"""Commands as processes: how they are started, what they say, how they end."""

import hashlib
import os
import signal
from pathlib import Path

import pytest

from quarterdeck.agent.settings import ExecutorSettings
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.unit.agent.conversation import Conversation


async def test_shell_command_reports_accepted_started_output_and_result(link: Conversation) -> None:
    """S4-7 S4-17 S4-18: stdout and stderr as bytes, exit code, length and SHA-256 of each stream."""
    key = await link.shell("printf out; printf err >&2")

    result = await link.result(key)

    assert (result.end, result.exit_code, result.reason) == (pb.SUCCEEDED, 0, "")
    assert (link.stdout(key), link.stderr(key)) == (b"out", b"err")
    assert result.stdout.sha256 == hashlib.sha256(b"out").digest()
    assert result.stderr.sha256 == hashlib.sha256(b"err").digest()
    assert [type(report) for report in link.reports] == [pb.Accepted, pb.Started, pb.Result]
    assert result.traceparent.startswith("00-0af7651916cd43dd")
    assert 0 < result.started_at_ms <= result.completed_at_ms


async def test_exit_code_and_signal_are_told_apart(link: Conversation) -> None:
    """S0-20 S4-20: a failure says with what it failed."""
    failed, killed = await link.run("exit 7"), await link.run("kill -USR1 $$")

    assert (failed.end, failed.exit_code, failed.HasField("signal")) == (pb.FAILED, 7, False)
    assert (killed.end, killed.signal, killed.reason) == (pb.FAILED, signal.SIGUSR1, "signal")
    assert not killed.HasField("exit_code")


async def test_output_arrives_while_the_command_runs(link: Conversation, tmp_path: Path) -> None:
    """S4-17: live, not at the end."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    key = await link.shell(f"echo first; read line < {gate}; echo $line")

    await link.until(lambda: link.stdout(key) == b"first\n")
    gate.write_text("second\n")

    assert (await link.result(key)).end == pb.SUCCEEDED
    assert link.stdout(key) == b"first\nsecond\n"


async def test_binary_output_is_byte_exact(link: Conversation) -> None:
    """S1-8 S4-35: a few megabytes of every byte, digest checked."""
    key = await link.shell("head -c 3000000 /dev/urandom | tee /dev/stderr")

    result = await link.result(key)

    assert len(link.stdout(key)) == len(link.stderr(key)) == result.stdout.length == 3_000_000
    assert hashlib.sha256(link.stdout(key)).digest() == result.stdout.sha256
    assert hashlib.sha256(link.stderr(key)).digest() == result.stderr.sha256


async def test_working_directory_and_environment_are_the_commands_own(
    link: Conversation, tmp_path: Path
) -> None:
    """S4-31: defaults of the agent, overridden by the command; the marker of the command is always there."""
    (tmp_path / "elsewhere").mkdir()
    command = "pwd; echo $INHERITED $OWN $QUARTERDECK_COMMAND"

    by_default = await link.shell(command)
    chosen = await link.shell(
        command, working_directory=str(tmp_path / "elsewhere"), env={"OWN": "a b", "INHERITED": "no"}
    )
    await link.result(by_default)
    await link.result(chosen)

    assert link.stdout(by_default).decode() == f"{tmp_path}\nyes {by_default[0]}.1\n"
    assert link.stdout(chosen).decode() == f"{tmp_path / 'elsewhere'}\nno a b {chosen[0]}.1\n"


async def test_stdin_is_empty(link: Conversation) -> None:
    key = await link.shell("cat; echo done")

    await link.result(key)

    assert link.stdout(key) == b"done\n"


async def test_argv_passes_without_a_shell(link: Conversation) -> None:
    """S0-28: nothing is pasted into a shell string."""
    key = await link.order("exec", {"argv": ["printf", "%s|", "a b", "$(id)", "; rm -rf x"]})

    await link.result(key)

    assert link.stdout(key) == b"a b|$(id)|; rm -rf x|"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("#!/usr/bin/env python3\nimport sys; print(sys.version_info.major)\n", b"3\n"),
        ("#!/bin/sh\necho $0 | grep -c script-\n", b"1\n"),
        ("echo no shebang\n", b"no shebang\n"),
    ],
)
async def test_script_runs_under_its_own_shebang_and_leaves_no_file(
    link: Conversation, settings: ExecutorSettings, script: str, expected: bytes
) -> None:
    key = await link.order("shell", {"script": script})

    result = await link.result(key)

    assert (result.end, link.stdout(key)) == (pb.SUCCEEDED, expected)
    assert list(settings.scratch_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("command_type", "payload", "exit_code"),
    [
        ("exec", {"argv": ["/no/such/program"]}, 127),
        ("exec", {"argv": ["no-such-program"]}, 127),
        ("exec", {"argv": ["/etc/passwd"]}, 126),
        ("shell", {"script": "#!/no/such/interpreter\n"}, 127),
    ],
)
async def test_what_cannot_be_started_fails_as_a_shell_would_say(
    link: Conversation, command_type: str, payload: object, exit_code: int
) -> None:
    """S4-30: spawn failure is reported."""
    key = await link.order(command_type, payload)

    result = await link.result(key)

    assert (result.end, result.reason, result.exit_code) == (pb.FAILED, "spawn_failed", exit_code)
    assert result.error
    assert (result.started_at_ms, link.of(key, pb.Started)) == (0, [])


async def test_missing_working_directory_fails_before_anything_starts(link: Conversation) -> None:
    result = await link.run("echo never", working_directory="/no/such/directory")

    assert (result.end, result.reason, result.exit_code) == (pb.FAILED, "spawn_failed", 126)
    assert "/no/such/directory" in result.error


@pytest.mark.parametrize(
    ("command_type", "payload", "expected"),
    [
        ("shell", {}, '{"command": "…"}'),
        ("shell", {"command": ""}, '{"command": "…"}'),
        ("shell", {"command": "a", "script": "b"}, '{"command": "…"}'),
        ("shell", {"command": 1}, '{"command": "…"}'),
        ("shell", {"comand": "ls"}, '{"command": "…"}'),
        ("shell", b"no json", '{"command": "…"}'),
        ("shell", b'{"command": "\xff"}', "utf-8"),
        ("shell", b'{"shell": ' + b"[" * 100_000, "invalid payload"),
        ("shell", {"command": "a\0b"}, "NUL"),
        ("exec", {"argv": []}, '{"argv": ["program", …]}'),
        ("exec", {"argv": "ls"}, '{"argv": ["program", …]}'),
        ("exec", {"argv": ["a", 1]}, '{"argv": ["program", …]}'),
    ],
)
async def test_payload_that_does_not_fit_is_rejected_saying_what_was_expected(
    link: Conversation, command_type: str, payload: object, expected: str
) -> None:
    """S0-21 S0-28: validated before anything is accepted."""
    key = await link.order(command_type, payload)

    rejected = await link.report(key, pb.Rejected)

    assert rejected.reason == "invalid_payload"
    assert rejected.error.startswith("invalid payload: ")
    assert expected in rejected.error
    assert link.of(key, pb.Accepted) == []


async def test_order_for_a_guest_of_an_agent_without_guests_is_rejected(link: Conversation) -> None:
    order = pb.Order(command_id="guest-1", attempt=1, epoch=link.epoch, guest="vm-1")
    await link.say(order=order)

    rejected = await link.report(("guest-1", 1), pb.Rejected)

    assert rejected.reason == "guest_unsupported"


async def test_grandchild_that_keeps_the_pipe_does_not_hold_the_command(link: Conversation) -> None:
    """A daemon that inherited stdout outlives its command, undisturbed, and the command ends at once."""
    key = await link.shell("(sleep 60; echo late) & echo $!; exit 3")

    result = await link.result(key, timeout_s=30)

    assert (result.end, result.exit_code) == (pb.FAILED, 3)
    daemon = int(link.stdout(key))
    os.kill(daemon, 0)
    os.kill(daemon, signal.SIGKILL)


async def test_all_that_the_child_wrote_is_there_although_a_grandchild_holds_the_pipe(
    link: Conversation,
) -> None:
    key = await link.shell("sleep 60 & head -c 60000 /dev/zero; kill_me=$!; echo $kill_me >&2")

    result = await link.result(key, timeout_s=30)

    assert result.stdout.length == 60_000
    os.kill(int(link.stderr(key)), signal.SIGKILL)


async def test_agents_own_variables_do_not_reach_children() -> None:
    from quarterdeck.agent.settings import child_environment

    kept = child_environment(
        {"PATH": "/bin", "QD_AGENT_JOIN_TOKEN": "secret", "QUARTERDECK_X": "1", "QDX": "2"}
    )

    assert kept == {"PATH": "/bin", "QDX": "2"}
