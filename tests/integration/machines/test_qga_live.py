"""Commands whose output is read while they run, through a real qemu-ga on this host."""

import asyncio
import hashlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.machines.errors import MachineError, NotSupported, Refused
from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from quarterdeck.machines.qga import (
    Ability,
    LiveExec,
    LiveExecSpec,
    QgaProtocol,
    QgaProtocolBuilder,
    Scratch,
)
from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.machines import HostGuestAgent
from tests.integration.machines.agent_peer import AgentConnection, agent
from tests.integration.machines.examples import python_examples, run
from tests.integration.machines.live_runs import MARKER, OTHER_MARKER, finished, followed, shell

PATIENT = QgaProtocolBuilder().with_timeout(60).with_polling(ceiling_s=0.05)
OUTPUT_BYTES = 40_000_000
"""More than twice what the agent itself would keep."""


@pytest.fixture
async def qga(guest_agent_process: HostGuestAgent) -> AsyncIterator[QgaProtocol]:
    protocol = PATIENT.build()
    endpoint = UnixEndpoint(str(guest_agent_process.socket_path))
    await protocol.connect(Guest(name="vm1", endpoints={ProtocolType.QGA: endpoint}))
    yield protocol
    await protocol.disconnect()


@pytest.fixture
def scratch(qga: QgaProtocol, tmp_path: Path) -> Scratch:
    return Scratch(qga, parent=str(tmp_path))


def left_in(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_output_comes_while_the_command_runs(scratch: Scratch, tmp_path: Path) -> None:
    """S2-15."""
    gates = [tmp_path / f"gate{number}" for number in range(2)]
    waits = "; ".join(
        f"echo before {gate.name}; while [ ! -e {gate} ]; do sleep 0.01; done" for gate in gates
    )
    run = LiveExec(scratch, shell(f"{waits}; echo last >&2"))
    await run.start()
    seen = bytearray()

    async def has_said(line: bytes) -> bool:
        step = await run.step()
        seen.extend(step.stdout)
        assert step.end is None
        return line in seen

    for gate in gates:
        await eventually(lambda gate=gate: has_said(b"before " + gate.name.encode()))  # type: ignore[misc]
        gate.touch()
    rest = await followed(run)

    assert bytes(seen) == b"before gate0\nbefore gate1\n"
    assert rest[:2] == (b"", b"last\n")
    await run.remove()


async def test_long_output_is_whole_on_both_streams(scratch: Scratch, tmp_path: Path) -> None:
    """S2-15, S2-24F. More than the agent keeps, byte for byte."""
    content = os.urandom(OUTPUT_BYTES // 10) * 10
    source = tmp_path / "source"
    source.write_bytes(content)

    run = await finished(scratch, shell(f"head -c 20000000 {source} >&2 & cat {source}; wait"))

    assert run.end.succeeded
    assert hashlib.sha256(run.stdout).digest() == hashlib.sha256(content).digest()
    assert hashlib.sha256(run.stderr).digest() == hashlib.sha256(content[:20_000_000]).digest()


async def test_command_is_the_leader_of_its_own_session(scratch: Scratch) -> None:
    """S2-15. Its pid is the one that the agent told, for shell text and for programs."""
    tell = "read -r pid _ _ _ group session _ </proc/self/stat; echo $pid $group $session"
    program = LiveExecSpec(
        marker=OTHER_MARKER, argv=("/usr/bin/env", "cut", "-d ", "-f1,5,6", "/proc/self/stat")
    )

    text_run = await finished(scratch, shell(tell))
    program_run = await finished(scratch, program)

    assert text_run.text.split() == [str(text_run.pid)] * 3
    assert program_run.text.split() == [str(program_run.pid)] * 3


async def test_command_finds_its_environment_directory_and_input(scratch: Scratch, tmp_path: Path) -> None:
    """S2-13. On top of what the agent's own programs find; nothing goes through a shell."""
    spec = LiveExecSpec(
        marker=MARKER,
        argv=(
            "/bin/sh",
            "-c",
            'printf "%s|" "$(pwd)" "$A" "$QUARTERDECK_COMMAND" "${PATH:+path}" "$#"; cat',
        ),
        environment={"A": "'$(id)' ü\n\""},
        working_directory=str(tmp_path),
        input_content=b"\x00\xff" * 100_000,
    )

    run = await finished(scratch, spec)

    assert run.stdout.startswith(f"{tmp_path}|'$(id)' ü\n\"|{MARKER}|path|0|".encode())
    assert run.stdout.endswith(b"\x00\xff" * 100_000)


async def test_arguments_reach_a_program_as_they_are(scratch: Scratch) -> None:
    """S2-13."""
    spec = LiveExecSpec(marker=MARKER, argv=("printf", "%s|", "a b", "", "$HOME", "'\"\\", "-n", "ü"))

    assert (await finished(scratch, spec)).text == "a b||$HOME|'\"\\|-n|ü|"


@pytest.mark.parametrize(
    ("spec", "exit_code", "message"),
    [
        (LiveExecSpec(marker=MARKER, argv=("/no/such/program",)), 127, "/no/such/program"),
        (LiveExecSpec(marker=MARKER, argv=("/etc/passwd",)), 126, "/etc/passwd"),
        (LiveExecSpec(marker=MARKER, argv=("true",), working_directory="/no/such"), 126, "/no/such"),
        (shell("exit 42"), 42, ""),
    ],
)
async def test_failure_has_its_code_and_a_message(
    scratch: Scratch, spec: LiveExecSpec, exit_code: int, message: str
) -> None:
    """S2-14."""
    run = await finished(scratch, spec)

    assert (run.end.exit_code, run.end.signal) == (exit_code, None)
    assert message in run.stderr.decode()


async def test_end_by_a_signal_is_told(scratch: Scratch) -> None:
    """S2-14."""
    run = await finished(scratch, shell("echo last words; kill -TERM $$"))

    assert (run.stdout, run.end.exit_code, run.end.signal) == (b"last words\n", None, signal.SIGTERM)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo $((6 * 7))", "42\n"),
        ("#!/usr/bin/env python3\nprint(6 * 7)", "42\n"),
        ("#! /bin/sh -e\necho $-", "e\n"),
        ("#!\necho 42", "42\n"),
        ("#!/usr/bin/head -n2\nü\nnot shown", "#!/usr/bin/head -n2\nü\n"),
        (f"# {'x' * 300_000}\necho 42", "42\n"),
    ],
    ids=["shell", "env", "argument", "nothing", "a program", "long"],
)
async def test_script_is_run_by_the_interpreter_that_it_names(
    scratch: Scratch, script: str, expected: str
) -> None:
    """S2-15."""
    run = await finished(scratch, LiveExecSpec(marker=MARKER, script=script))

    assert (run.text, run.stderr, run.end.exit_code) == (expected, b"", 0)


async def test_many_commands_at_once_keep_their_output_apart(scratch: Scratch) -> None:
    """S2-24F."""
    specs = [shell(f"echo {number}; echo {-number} >&2", marker=f"{number}.{MARKER}") for number in range(20)]

    runs = await asyncio.gather(*(finished(scratch, spec) for spec in specs))

    assert [(run.stdout, run.stderr) for run in runs] == [
        (f"{number}\n".encode(), f"{-number}\n".encode()) for number in range(20)
    ]


async def test_output_is_nobody_elses_and_nothing_of_it_is_left(scratch: Scratch, tmp_path: Path) -> None:
    """S2-25F."""
    run = LiveExec(scratch, LiveExecSpec(marker=f"../{MARKER}", script="cat /dev/zero | head -c 10"))
    await run.start()
    (directory,) = tmp_path.iterdir()
    assert (directory.stat().st_mode & 0o777, len(left_in(tmp_path))) == (0o700, 3)

    await followed(run)
    await run.remove()
    await run.remove()
    await scratch.remove()

    assert list(tmp_path.iterdir()) == []


async def test_files_of_ended_commands_do_not_pile_up(scratch: Scratch, tmp_path: Path) -> None:
    """S2-25F. Large ones go at once, small ones many at a time, or in a quiet moment."""
    for _ in range(40):
        await finished(scratch, shell("echo hi"))
    assert len(left_in(tmp_path)) < 40
    await finished(scratch, shell("head -c 1000000 /dev/zero"))
    assert left_in(tmp_path) == []

    await finished(scratch, shell("echo hi"))

    await eventually(lambda: left_in(tmp_path) == [])


async def test_directory_that_vanished_is_made_again(scratch: Scratch, tmp_path: Path) -> None:
    """S2-25F. A guest that was started anew has an empty /tmp."""
    await finished(scratch, shell("echo before"))
    (directory,) = tmp_path.iterdir()
    shutil.rmtree(directory)

    assert (await finished(scratch, shell("echo after"))).text == "after\n"
    assert [path != directory for path in tmp_path.iterdir()] == [True]


@pytest.mark.parametrize("parent", ["/no/such", "/proc"])
async def test_guest_without_room_for_output_still_runs_commands(qga: QgaProtocol, parent: str) -> None:
    """S2-25F. Whoever looks after a full disk needs them most. Output comes with the end."""
    scratch = Scratch(qga, parent=parent)
    run = LiveExec(scratch, shell("echo $QUARTERDECK_COMMAND"))

    await run.start()
    stdout, _, end = await followed(run)

    assert run.ability is Ability.SHELL_ONLY
    assert (stdout, end.exit_code, end.out_truncated) == (f"{MARKER}\n".encode(), 0, False)
    await run.remove()
    await scratch.remove()


async def test_agent_that_cannot_open_files_still_runs_commands(
    scratch: Scratch, tmp_path: Path, socket_dir: Path
) -> None:
    """S2-25F. It notes each handle on disk, and a full one does not take that."""
    await finished(scratch, shell("echo before"))
    state = socket_dir / "qga.state"
    state.unlink()
    (state / "in the way").mkdir(parents=True)
    run = LiveExec(scratch, shell("echo after"))

    await run.start()

    assert (await followed(run))[0] == b"after\n"
    assert run.ability is Ability.SHELL_ONLY
    await run.remove()


async def test_command_of_an_agent_that_was_started_anew_is_unknown(
    guest_agent_process: HostGuestAgent, scratch: Scratch
) -> None:
    """S2-25F. Nobody will ever know its end."""
    run = LiveExec(scratch, shell("exec sleep 1000"))
    await run.start()
    await run.step()

    await guest_agent_process.kill()
    await guest_agent_process.start()

    with pytest.raises(MachineError):
        await run.step()
    with pytest.raises(Refused):
        await run.step()
    assert (await finished(scratch, shell("echo next", marker=OTHER_MARKER))).text == "next\n"


async def test_stream_without_room_is_left_where_it_is(scratch: Scratch) -> None:
    """S2-25F. And the end is not told before all of it was read."""
    run = LiveExec(scratch, shell("echo out; echo err >&2"))
    await run.start()
    out = bytearray()

    async def has_out() -> bool:
        step = await run.step(stderr=False)
        out.extend(step.stdout)
        assert (step.stderr, step.end) == (b"", None)
        return bool(out)

    await eventually(has_out)

    assert (await followed(run))[:2] == (b"", b"err\n")
    assert out == b"out\n"
    await run.remove()


async def test_live_command_as_in_the_readme(host_guest_agent: Path) -> None:
    """S2-26. The example's directory is removed by the example."""
    readme = Path(__file__).parents[3] / "libs" / "machines" / "README.md"
    guest = Guest(name="vm1", endpoints={ProtocolType.QGA: UnixEndpoint(str(host_guest_agent))})
    (code,) = (found.code for found in python_examples(readme) if "LiveExec" in found.code)

    printed = await run(code, {"guest": guest})

    assert printed.splitlines() == ["b'working\\n'", "True", str(signal.SIGTERM.value)]


# ---- Guests that can less


async def test_guest_without_a_shell_runs_programs(qga: QgaProtocol, tmp_path: Path) -> None:
    """S2-15. Output comes with the end."""
    scratch = Scratch(qga, parent=str(tmp_path), shell="/no/such/shell")
    run = LiveExec(scratch, LiveExecSpec(marker=MARKER, argv=("/bin/cat",), input_content=b"fed"))

    await run.start()
    stdout, stderr, end = await followed(run)

    assert run.ability is Ability.BARE
    assert (stdout, stderr, end.exit_code, end.out_truncated) == (b"fed", b"", 0, False)
    for asked in (run.survivors(), run.stop(0), run.pause(), run.resume()):
        with pytest.raises(NotSupported):
            await asked
    await run.remove()
    for spec in (
        LiveExecSpec(marker=MARKER, script="echo hi"),
        LiveExecSpec(marker=MARKER, argv=("x",), working_directory="/"),
        LiveExecSpec(marker=MARKER, argv=("x",), environment={"A": "1"}),
    ):
        with pytest.raises(NotSupported):
            await LiveExec(scratch, spec).start()


async def test_agent_that_opens_no_files_still_runs_everything(
    guest_agent_process: HostGuestAgent, tmp_path: Path, socket_dir: Path
) -> None:
    """S2-14, S2-15. Some distributions switch guest-file-open off; then output comes with the end, and may be cut."""
    real = PATIENT.build()
    endpoint = UnixEndpoint(str(guest_agent_process.socket_path))
    await real.connect(Guest(name="vm1", endpoints={ProtocolType.QGA: endpoint}))

    async def without_files(connection: AgentConnection) -> None:
        while True:
            request = await connection.request()
            if request["execute"].startswith("guest-file-"):
                connection.refuse(request, "CommandNotFound", "Command guest-file-open has been disabled")
            else:
                connection.answer(request, await real.execute(request["execute"], request.get("arguments")))

    async with agent(socket_dir, without_files) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)
        scratch = Scratch(protocol, parent=str(tmp_path))
        run = LiveExec(
            scratch,
            LiveExecSpec(
                marker=MARKER,
                script="pwd; echo $A $QUARTERDECK_COMMAND; head -c 17000000 /dev/zero >&2; exit 3",
                environment={"A": "1"},
                working_directory=str(tmp_path),
            ),
        )

        await run.start()
        stdout, stderr, end = await followed(run)

        assert run.ability is Ability.SHELL_ONLY
        assert (stdout, len(stderr), end.exit_code) == (
            f"{tmp_path}\n1 {MARKER}\n".encode(),
            16 * 1024 * 1024,
            3,
        )
        assert (end.out_truncated, end.err_truncated) == (False, True)
        assert await run.survivors() == []
        with pytest.raises(NotSupported):
            await LiveExec(scratch, LiveExecSpec(marker=OTHER_MARKER, script="#!/usr/bin/python3\n")).start()
        await protocol.disconnect()
    await real.disconnect()
