"""Commands in a guest that shall end: nothing of them is left, and that is proven. On a real qemu-ga on this host."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from quarterdeck.machines.errors import NotSupported
from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from quarterdeck.machines.qga import LiveExec, LiveExecSpec, QgaProtocol, QgaProtocolBuilder, Scratch
from quarterdeck.testing.eventually import eventually
from tests.integration.machines.live_runs import MARKER, finished, followed, shell

SHELLS = ["/bin/sh", "/bin/bash", "busybox"]
"""What a guest may have for a shell; each has its own `kill`, `read` and `exec`."""


@pytest.fixture
async def qga(host_guest_agent: Path) -> AsyncIterator[QgaProtocol]:
    protocol = QgaProtocolBuilder().with_timeout(60).with_polling(ceiling_s=0.05).build()
    endpoint = UnixEndpoint(str(host_guest_agent))
    await protocol.connect(Guest(name="vm1", endpoints={ProtocolType.QGA: endpoint}))
    yield protocol
    await protocol.disconnect()


@pytest.fixture
def scratch(qga: QgaProtocol, tmp_path: Path) -> Scratch:
    return Scratch(qga, parent=str(tmp_path))


@pytest.fixture(params=SHELLS)
def any_shell(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A path; busybox is a shell by its name."""
    if request.param != "busybox":
        return str(request.param)
    busybox = shutil.which("busybox")
    assert busybox is not None
    link = tmp_path / "sh"
    link.symlink_to(busybox)
    return str(link)


async def started(scratch: Scratch, spec: LiveExecSpec, *, processes: int) -> LiveExec:
    """Running, with so many processes."""
    run = LiveExec(scratch, spec)
    await run.start()

    async def all_there() -> bool:
        return len(await run.survivors()) >= processes

    await eventually(all_there)
    return run


async def test_command_that_heeds_a_signal_ends_within_its_grace(scratch: Scratch) -> None:
    """S2-23F. Its last words are read."""
    run = await started(
        scratch, shell("trap 'echo farewell; exit 5' TERM; while :; do sleep 0.01; done"), processes=1
    )

    assert await run.stop(grace_s=60)

    stdout, _, end = await followed(run)
    assert (stdout, end.exit_code, end.signal) == (b"farewell\n", 5, None)
    await run.remove()


async def test_everything_that_a_command_started_is_gone(
    qga: QgaProtocol, tmp_path: Path, any_shell: str
) -> None:
    """S2-23F, S2-25F. Deaf to SIGTERM, in sessions of their own, orphaned, without the marker."""
    deaf = "trap '' TERM; while :; do sleep 0.05; done"
    command = f'setsid {any_shell} -c "{deaf}" & (sleep 1000 &); env -i sleep 1000 & {deaf}'
    scratch = Scratch(qga, parent=str(tmp_path), shell=any_shell)
    run = await started(scratch, LiveExecSpec(marker=MARKER, argv=(any_shell, "-c", command)), processes=4)
    pids = await run.survivors()

    assert await run.stop(grace_s=0.05)

    assert await run.survivors() == []
    assert [pid for pid in pids if _lives(pid)] == []
    assert (await followed(run))[2].signal == signal.SIGKILL
    await run.remove()


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_what_outlives_its_command_is_found_by_its_marker(scratch: Scratch) -> None:
    """S2-23F."""
    run = LiveExec(scratch, shell("setsid sh -c 'setsid sleep 1000 &'; echo done"))
    await run.start()
    stdout, _, end = await followed(run)
    assert (stdout, end.exit_code) == (b"done\n", 0)
    (survivor,) = await run.survivors()

    assert await run.stop(grace_s=60)

    assert not _lives(survivor)
    await run.remove()


async def test_command_whose_start_was_never_confirmed_can_be_stopped(scratch: Scratch) -> None:
    """S2-25F. By another run of the same marker: its pid is not known."""
    spec = shell("exec sleep 1000")
    run = await started(scratch, spec, processes=1)

    assert await LiveExec(scratch, spec).stop(grace_s=60)

    assert (await followed(run))[2].signal == signal.SIGTERM
    await run.remove()


async def test_other_commands_are_left_alone(scratch: Scratch) -> None:
    """S2-25F. A marker that begins like another one is another one."""
    other = await started(scratch, shell("exec sleep 1000", marker=f"{MARKER}1"), processes=1)
    run = await started(scratch, shell("exec sleep 1000", marker=MARKER), processes=1)

    assert await run.stop(grace_s=60)

    assert len(await other.survivors()) == 1
    assert await other.stop(grace_s=60)
    for one in (run, other):
        await followed(one)
        await one.remove()


async def test_command_that_has_ended_needs_no_stop(scratch: Scratch) -> None:
    """S2-25F."""
    run = LiveExec(scratch, shell("echo hi"))
    await run.start()
    await followed(run)

    assert await run.stop(grace_s=60)
    await run.remove()


async def test_paused_command_prints_nothing_until_it_goes_on(scratch: Scratch, tmp_path: Path) -> None:
    """S2-15. All of it is held, not its first process alone."""
    run = await started(scratch, shell("sh -c 'while :; do echo x; sleep 0.01; done'; true"), processes=2)
    await run.step()
    await run.pause()
    states = {psutil.Process(pid).status() for pid in await run.survivors()}
    # Asleep: it waits for the exec of a child that was stopped before.
    assert states <= {psutil.STATUS_STOPPED, psutil.STATUS_DISK_SLEEP}
    while (await run.step()).stdout:
        pass

    assert (await run.step()).stdout == b""
    await run.resume()

    async def has_said_more() -> bool:
        return bool((await run.step()).stdout)

    await eventually(has_said_more)
    await run.pause()
    assert await run.stop(grace_s=60)
    await run.remove()


async def test_any_signal_can_be_sent(scratch: Scratch) -> None:
    """S2-23F."""
    run = await started(
        scratch, shell("trap 'echo USR1; exit 0' USR1; echo up; while :; do sleep 0.01; done"), processes=1
    )
    seen = bytearray()

    async def is_up() -> bool:
        seen.extend((await run.step()).stdout)
        return b"up\n" in seen

    await eventually(is_up)
    await run.signal(signal.SIGUSR1)

    assert (await followed(run))[0] == b"USR1\n"
    await run.remove()


async def test_guest_without_setsid_is_stopped_all_the_same(qga: QgaProtocol, tmp_path: Path) -> None:
    """S2-25F. The command shares the agent's own group then, which must not be hit."""
    poor_shell = tmp_path / "sh"
    poor_shell.write_text('#!/bin/sh\ncommand() { false; }\nscript=$2\nshift 3\neval "$script"\n')
    poor_shell.chmod(0o755)
    scratch = Scratch(qga, parent=str(tmp_path), shell=str(poor_shell))
    run = await started(
        scratch, LiveExecSpec(marker=MARKER, argv=("/bin/sh", "-c", "sleep 1000 & wait")), processes=2
    )

    assert len({os.getpgid(pid) for pid in await run.survivors()} - set(await run.survivors())) == 1
    assert await run.stop(grace_s=60)

    await qga.ping()
    await followed(run)
    await run.remove()


async def test_guest_that_does_not_tell_its_processes_runs_commands_without_a_proof(
    qga: QgaProtocol, tmp_path: Path
) -> None:
    """S2-25F. Such as one without /proc."""
    poor_shell = tmp_path / "sh"
    poor_shell.write_text('#!/bin/sh\ncat() { false; }\nscript=$2\nshift 3\neval "$script"\n')
    poor_shell.chmod(0o755)
    scratch = Scratch(qga, parent=str(tmp_path), shell=str(poor_shell))
    run = LiveExec(
        scratch, LiveExecSpec(marker=MARKER, argv=("/bin/sh", "-c", "echo $PATH $QUARTERDECK_COMMAND"))
    )

    await run.start()
    stdout, _, _ = await followed(run)

    assert stdout.startswith(b"/")
    assert stdout.endswith(f" {MARKER}\n".encode())
    with pytest.raises(NotSupported):
        await run.stop(grace_s=0)
    await run.remove()


async def test_stop_and_steps_go_on_beside_each_other(scratch: Scratch) -> None:
    """S2-6. One connection serves both."""
    run = await started(
        scratch, shell("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"), processes=1
    )
    following = asyncio.create_task(followed(run))

    assert await run.stop(grace_s=60)

    stdout, _, end = await following
    assert end.signal == signal.SIGTERM
    assert stdout.replace(b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", b"") in (b"", b"x" * (len(stdout) % 33))
    await run.remove()


@pytest.mark.parametrize("command", ["cd / && pwd", "set -e; true", "echo $0 $#; exit 3"])
async def test_shells_agree_about_a_command(
    qga: QgaProtocol, tmp_path: Path, any_shell: str, command: str
) -> None:
    """S2-15."""
    scratch = Scratch(qga, parent=str(tmp_path), shell=any_shell)
    run = await finished(scratch, LiveExecSpec(marker=MARKER, argv=(any_shell, "-c", command)))

    expected = {"cd / && pwd": ("/\n", 0), "set -e; true": ("", 0), "echo $0 $#; exit 3": ("sh 0\n", 3)}
    assert (run.text, run.end.exit_code) == expected[command]
