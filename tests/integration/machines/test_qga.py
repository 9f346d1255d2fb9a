"""QGA against a real qemu-ga on this host: what it takes for a guest is this machine."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from quarterdeck.machines.errors import (
    AgentSilent,
    ConnectionEnded,
    GuestPaused,
    MachineError,
    NotSupported,
    ProtocolViolation,
    Refused,
    StillRunning,
    TimedOut,
)
from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from quarterdeck.machines.qga import GuestExec, IsRunning, QgaProtocol, QgaProtocolBuilder, Request
from quarterdeck.machines.registry import ProtocolRegistry
from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.machines import HostGuestAgent

PATIENT = QgaProtocolBuilder().with_timeout(60)
"""For answers that come at once, unless the machine is very busy."""
HASTY = QgaProtocolBuilder().with_timeout(0.8)
"""For answers that never come, and for those before that come at once."""


def guest_at(path: object) -> Guest:
    return Guest(name="vm1", endpoints={ProtocolType.QGA: UnixEndpoint(str(path))})


async def running() -> bool:
    return True


async def paused() -> bool:
    return False


async def unknown() -> bool:
    raise ConnectionEnded("QEMU went away", guest="vm1", protocol=ProtocolType.QMP)


@pytest.fixture
async def qga(host_guest_agent: Path) -> AsyncIterator[QgaProtocol]:
    protocol = PATIENT.build()
    await protocol.connect(guest_at(host_guest_agent))
    yield protocol
    await protocol.disconnect()


async def test_a_protocol_of_the_registry_finds_the_agent(host_guest_agent: Path) -> None:
    """S2-1, S2-3, S2-4, S2-11, S2-15."""
    protocol = ProtocolRegistry.with_installed().create(ProtocolType.QGA)
    assert isinstance(protocol, QgaProtocol)
    assert protocol.protocol_type() is ProtocolType.QGA
    assert not await protocol.is_connected()

    await protocol.connect(guest_at(host_guest_agent))
    await protocol.ping()
    about = await protocol.info()
    assert await protocol.is_connected()
    await protocol.disconnect()
    await protocol.disconnect()

    assert not await protocol.is_connected()
    assert about.version[0].isdigit()
    commands = {command.name: command for command in about.supported_commands}
    assert commands["guest-exec"].enabled
    assert not commands["guest-shutdown"].enabled
    assert not commands["guest-shutdown"].success_response


async def test_any_command_can_be_executed(qga: QgaProtocol) -> None:
    """S2-15."""
    assert await qga.execute("guest-sync", {"id": 4711}) == 4711
    assert await qga.execute_as("guest-sync", {"id": 4711}, int) == 4711


async def test_raw_bytes_are_neither_sent_nor_received(qga: QgaProtocol) -> None:
    """S2-19."""
    with pytest.raises(NotSupported, match=r"execute\(\)"):
        await qga.receive()
    with pytest.raises(NotSupported, match=r"execute\(\)"):
        await qga.send(b'{"execute": "guest-ping"}')


async def test_command_that_the_agent_declines_is_refused(qga: QgaProtocol) -> None:
    """S2-25F."""
    with pytest.raises(Refused) as refusal:
        await qga.execute("guest-make-coffee")

    assert refusal.value.error_class == "CommandNotFound"
    assert "guest-make-coffee" in refusal.value.description
    assert (refusal.value.guest, refusal.value.protocol) == ("vm1", ProtocolType.QGA)
    await qga.ping()


async def test_answer_of_another_shape_is_a_violation(qga: QgaProtocol) -> None:
    """S2-25F."""
    with pytest.raises(ProtocolViolation):
        await qga.execute_as("guest-sync", {"id": 1}, dict)

    await qga.ping()


async def test_requests_of_a_burst_are_answered_in_order_whatever_becomes_of_each(qga: QgaProtocol) -> None:
    """S2-15."""
    requests = [Request("guest-sync", {"id": number}) for number in range(50)]
    requests[7] = Request("guest-make-coffee")

    answers = await qga.burst(requests)

    assert answers[7].refusal is not None
    del answers[7]
    assert [answer.value(int) for answer in answers] == [number for number in range(50) if number != 7]


# ---- Programs


async def test_shell_text_is_executed_to_its_end(qga: QgaProtocol) -> None:
    """S2-15, S2-16."""
    status = await qga.exec_shell("echo out; echo err >&2; exit 3")

    assert (status.exited, status.exit_code, status.signal) == (True, 3, None)
    assert (status.decode_stdout(), status.decode_stderr()) == ("out\n", "err\n")


async def test_program_gets_arguments_environment_and_input_as_they_are(qga: QgaProtocol) -> None:
    """S2-13."""
    program = GuestExec(
        path="/bin/sh",
        arg=["-c", 'printf "%s|" "$@" "$ONLY" "${HOME-none}"; cat', "sh", "a b", "", "'\"\\"],
        env=["ONLY=ü = 1"],
        input_data=bytes(range(256)) * 1_000,
        capture_output=True,
    )

    status = await qga.exec_and_wait(program)

    assert status.stdout == "a b||'\"\\|ü = 1|none|".encode() + bytes(range(256)) * 1_000


async def test_output_that_nobody_asked_for_is_not_kept(qga: QgaProtocol) -> None:
    """S2-13, S2-14."""
    status = await qga.exec_and_wait(GuestExec(path="/bin/echo", arg=["hi"]))

    assert status.succeeded
    assert (status.out_data, status.decode_stdout()) == (None, None)


async def test_program_can_be_started_and_asked_about(qga: QgaProtocol, socket_dir: Path) -> None:
    """S2-15. The end is told once."""
    gate = socket_dir / "gate"
    pid = await qga.exec(
        GuestExec.simple("/bin/sh", ["-c", f"while [ ! -e {gate} ]; do sleep 0.01; done; kill -9 $$"])
    )
    assert not (await qga.exec_status(pid)).exited
    gate.touch()

    ends = []

    async def ended() -> bool:
        ends.append(await qga.exec_status(pid))
        return ends[-1].exited

    await eventually(ended)

    assert (ends[-1].exit_code, ends[-1].signal) == (None, signal.SIGKILL)
    with pytest.raises(Refused):
        await qga.exec_status(pid)


async def test_program_that_does_not_exist_is_refused(qga: QgaProtocol) -> None:
    """S2-25F."""
    with pytest.raises(Refused):
        await qga.exec(GuestExec.simple("/no/such/program"))


async def test_more_output_than_the_agent_keeps_is_said_to_be_truncated(qga: QgaProtocol) -> None:
    """S2-14. Two full streams are 45 MB of Base64 in one line."""
    status = await qga.exec_shell("head -c 17000000 /dev/zero | tee /dev/fd/2")

    assert len(status.stdout) == len(status.stderr) == 16 * 1024 * 1024
    assert (status.out_truncated, status.err_truncated) == (True, True)


async def test_waiting_for_a_program_has_a_limit_and_the_program_goes_on(qga: QgaProtocol) -> None:
    """S2-12, S2-25F."""
    with pytest.raises(StillRunning) as waited:
        await qga.exec_shell("exec sleep 1000", timeout_s=0.05)

    pid = waited.value.pid
    assert not (await qga.exec_status(pid)).exited
    await qga.exec_shell(f"kill -9 {pid}")
    await eventually(lambda: _has_exited(qga, pid))


async def _has_exited(qga: QgaProtocol, pid: int) -> bool:
    return (await qga.exec_status(pid)).exited


async def test_programs_of_many_callers_each_get_their_own_end(qga: QgaProtocol) -> None:
    """S2-15, S2-24F."""
    ends = await asyncio.gather(*(qga.exec_shell(f"echo {number}; exit {number}") for number in range(20)))

    assert [(end.decode_stdout(), end.exit_code) for end in ends] == [(f"{n}\n", n) for n in range(20)]


# ---- Silence


async def test_agent_that_stands_still_is_a_typed_error_and_works_when_it_goes_on(
    guest_agent_process: HostGuestAgent,
) -> None:
    """S2-12, S2-25F. What it answers too late reaches nobody."""
    protocol = HASTY.build()
    await protocol.connect(guest_at(guest_agent_process.socket_path))
    guest_agent_process.child.send_signal(signal.SIGSTOP)

    for number in range(2):
        with pytest.raises(TimedOut) as silence:
            await protocol.execute("guest-sync", {"id": number})
        assert type(silence.value) is TimedOut
    guest_agent_process.child.send_signal(signal.SIGCONT)

    async def answers() -> bool:
        try:
            return bool(await protocol.execute("guest-sync", {"id": 4711}) == 4711)
        except TimedOut:  # a busy machine
            return False

    await eventually(answers)
    await protocol.disconnect()


@pytest.mark.parametrize(
    ("status", "expected"), [(running, AgentSilent), (paused, GuestPaused), (unknown, TimedOut)]
)
async def test_silent_agent_is_told_from_a_paused_guest(
    guest_agent_process: HostGuestAgent, status: IsRunning, expected: type[MachineError]
) -> None:
    """S2-25F."""
    protocol = HASTY.with_status(status).build()
    await protocol.connect(guest_at(guest_agent_process.socket_path))
    guest_agent_process.child.send_signal(signal.SIGSTOP)

    with pytest.raises(TimedOut) as silence:
        await protocol.ping()

    assert type(silence.value) is expected
    guest_agent_process.child.send_signal(signal.SIGCONT)
    await protocol.disconnect()


async def test_silent_agent_is_noticed_when_connecting(guest_agent_process: HostGuestAgent) -> None:
    """S2-12, S2-25F."""
    guest_agent_process.child.send_signal(signal.SIGSTOP)
    protocol = HASTY.with_status(running).build()

    with pytest.raises(AgentSilent):
        await protocol.connect(guest_at(guest_agent_process.socket_path))

    assert not await protocol.is_connected()
    guest_agent_process.child.send_signal(signal.SIGCONT)


async def test_nothing_is_started_in_a_paused_guest(host_guest_agent: Path, socket_dir: Path) -> None:
    """S2-25F. It would run when the guest goes on, and nobody would know."""
    protocol = PATIENT.with_status(paused).build()
    await protocol.connect(guest_at(host_guest_agent))

    with pytest.raises(GuestPaused):
        await protocol.exec_shell(f"touch {socket_dir}/started")

    await protocol.disconnect()
    assert not (socket_dir / "started").exists()


def test_builder_answers_a_changed_copy() -> None:
    """S2-2, S2-12, S2-18F."""
    builder = QgaProtocolBuilder()

    other = builder.with_timeout(60).with_polling(first_s=0.1, ceiling_s=0.2).with_status(running)

    assert builder.protocol_type() is ProtocolType.QGA
    assert builder._settings != other._settings
    cadence = other.build().cadence()
    assert [cadence.next_s() for _ in range(9)][::8] == [0.1, 0.2]
    assert msgspec.structs.asdict(other._settings)["timeout_s"] == 60
