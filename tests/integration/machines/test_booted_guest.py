"""A real Linux behind real virtual devices: every way to it, from QEMU's monitor to its own input devices.

What no agent on the host can show: that bytes cross the machine's border, and what a guest that stands still means to
whoever waits for it. The guest is shared: every test leaves it as it was.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from quarterdeck.machines.discovery import SocketPattern, find_guests, serial_ports_of, with_serial_ports
from quarterdeck.machines.errors import GuestPaused
from quarterdeck.machines.qga import (
    GuestExec,
    LiveExec,
    LiveExecSpec,
    QgaProtocol,
    QgaProtocolBuilder,
    Scratch,
)
from quarterdeck.machines.qmp import QmpProtocol, QmpProtocolBuilder
from quarterdeck.machines.spice import SpiceProtocolBuilder
from quarterdeck.machines.virtio_serial import (
    JsonLines,
    VirtioSerialProtocol,
    VirtioSerialProtocolBuilder,
)
from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.machines import BootedGuest, KeyEvent
from quarterdeck.testing.machines.booted_guest import AGENT_CHANNEL, ECHO_CHANNEL
from tests.integration.machines.waiting import PATIENCE_S, is_running

CTRL, ALT, DELETE = 29, 56, 111
"""Linux's numbers. Source: linux/input-event-codes.h."""

CTRL_ALT_DEL = [
    *(KeyEvent(CTRL, True), KeyEvent(ALT, True), KeyEvent(DELETE, True)),
    *(KeyEvent(DELETE, False), KeyEvent(ALT, False), KeyEvent(CTRL, False)),
]


@pytest.fixture
async def qmp(booted_guest: BootedGuest) -> AsyncIterator[QmpProtocol]:
    protocol = QmpProtocolBuilder().with_timeout(PATIENCE_S).build()
    await protocol.connect(booted_guest.guest)
    yield protocol
    await protocol.disconnect()


@pytest.fixture
async def qga(booted_guest: BootedGuest) -> AsyncIterator[QgaProtocol]:
    protocol = QgaProtocolBuilder().with_timeout(PATIENCE_S).build()
    await protocol.connect(booted_guest.guest)
    yield protocol
    await protocol.disconnect()


@pytest.fixture
async def echo(booted_guest: BootedGuest) -> AsyncIterator[VirtioSerialProtocol]:
    protocol = VirtioSerialProtocolBuilder().with_channel(ECHO_CHANNEL).with_timeout(PATIENCE_S).build()
    await protocol.connect(booted_guest.guest)
    yield protocol
    await protocol.disconnect()


async def _read_until(live: LiveExec, text: bytes) -> None:
    """Steps until standard output has brought `text`."""
    seen = b""
    async with asyncio.timeout(PATIENCE_S):
        while text not in seen:
            step = await live.step()
            seen += step.stdout
            assert step.end is None, seen
            await asyncio.sleep(step.pause_s)


async def test_agent_in_the_guest_tells_output_and_end_of_a_command(qga: QgaProtocol) -> None:
    """S2-11, S2-15, S2-16."""
    status = await qga.exec_shell("uname -s; echo trouble >&2; exit 3")

    assert (status.exit_code, status.decode_stdout(), status.decode_stderr()) == (3, "Linux\n", "trouble\n")


async def test_program_in_the_guest_gets_arguments_environment_and_input(qga: QgaProtocol) -> None:
    """S2-13."""
    program = GuestExec(
        path="/bin/sh",
        arg=["-c", 'cat; echo "$COLOUR, $1"', "sh", "one two"],
        env=["COLOUR=blue", "PATH=/bin"],
        input_data=b"\x00\xff\n",
        capture_output=True,
    )

    status = await qga.exec_and_wait(program)

    assert status.stdout == b"\x00\xff\nblue, one two\n"


async def test_output_in_the_guest_is_read_while_its_command_runs(qga: QgaProtocol) -> None:
    """S2-23F. The command ends only after its first words were read out here."""
    spec = LiveExecSpec(
        marker="live-1", script="echo first; until [ -e /tmp/go-on ]; do usleep 10000; done; echo last"
    )
    live = LiveExec(Scratch(qga), spec)
    await live.start()
    await _read_until(live, b"first\n")

    await qga.exec_shell("touch /tmp/go-on")

    last = b""
    async with asyncio.timeout(PATIENCE_S):
        while (step := await live.step()).end is None:
            last += step.stdout
            await asyncio.sleep(step.pause_s)
    assert (last + step.stdout, step.end.exit_code) == (b"last\n", 0)
    await live.remove()
    await qga.exec_shell("rm /tmp/go-on")


async def test_stopped_command_leaves_no_process_in_the_guest(qga: QgaProtocol) -> None:
    """S2-23F. One child left the session, another ignores SIGTERM."""
    tree = "trap '' TERM; setsid sleep 1000 & (trap '' TERM; sleep 1000) & echo begun; wait"
    live = LiveExec(Scratch(qga), LiveExecSpec(marker="tree-1", script=tree))
    await live.start()
    await _read_until(live, b"begun\n")
    before = await live.survivors()

    proven = await live.stop(grace_s=0.1)

    assert len(before) >= 3
    assert proven
    assert await live.survivors() == []
    assert (
        "sleep 1000" not in (await qga.exec_shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")).stdout.decode()
    )
    await live.remove()


async def test_bytes_on_a_channel_cross_the_machine_and_come_back(echo: VirtioSerialProtocol) -> None:
    """S2-21F. Every byte there is."""
    sent = bytes(range(256)) * 16

    await echo.send(sent)

    received = b""
    while len(received) < len(sent):
        received += await echo.receive()
    assert received == sent


async def test_lines_of_json_on_a_channel_are_answered(echo: VirtioSerialProtocol) -> None:
    """S2-21F."""
    answer = await JsonLines(echo).request({"ask": "grüße"})

    assert answer["ask"] == "grüße"


async def test_ports_of_the_guest_are_found_without_being_told(
    booted_guest: BootedGuest, qmp: QmpProtocol
) -> None:
    """S2-20F, S2-21F. A monitor's socket by its pattern, the rest by asking it."""
    found = find_guests([SocketPattern.parse(f"qmp={booted_guest.directory}/{{guest}}/qmp.sock")])
    ports = await serial_ports_of(qmp)
    guest = with_serial_ports(found[booted_guest.name], ports)

    assert {port.name: port.is_open for port in ports} == {AGENT_CHANNEL: True, ECHO_CHANNEL: True}
    assert guest.channels == booted_guest.guest.channels
    assert guest.endpoints.items() <= booted_guest.guest.endpoints.items()


async def test_keys_sent_over_qmp_arrive_at_the_guests_keyboard(
    booted_guest: BootedGuest, qmp: QmpProtocol
) -> None:
    """S2-10."""
    before = len(booted_guest.key_events())

    await qmp.send_keys(["ctrl", "alt", "del"], hold_ms=50)

    await eventually(lambda: booted_guest.key_events()[before:] == CTRL_ALT_DEL, within_s=PATIENCE_S)


async def test_keys_sent_over_spice_arrive_at_the_guests_keyboard(booted_guest: BootedGuest) -> None:
    """S2-22F."""
    before = len(booted_guest.key_events())
    spice = SpiceProtocolBuilder().with_timeout(PATIENCE_S).build()
    await spice.connect(booted_guest.guest)

    await spice.send_keys(["ctrl", "alt", "del"], hold_ms=50)

    await eventually(lambda: booted_guest.key_events()[before:] == CTRL_ALT_DEL, within_s=PATIENCE_S)
    await spice.disconnect()


async def test_paused_guest_is_told_from_a_dead_one_and_works_again(
    booted_guest: BootedGuest, qmp: QmpProtocol
) -> None:
    """S2-25F. What was asked of it meanwhile is not done later."""
    qga = QgaProtocolBuilder().with_timeout(PATIENCE_S).with_status(is_running(qmp)).build()
    await qga.connect(booted_guest.guest)
    await qmp.execute_command("stop")
    try:
        with pytest.raises(GuestPaused):
            await qga.exec_shell("touch /tmp/done-later")
    finally:
        await qmp.execute_command("cont")

    status = await qga.exec_shell("ls /tmp/done-later")

    assert status.exit_code == 1
    await qga.disconnect()


async def test_agent_of_a_paused_guest_cannot_be_connected(
    booted_guest: BootedGuest, qmp: QmpProtocol
) -> None:
    """S2-25F. QEMU takes the connection, and nobody answers behind it."""
    qga = QgaProtocolBuilder().with_timeout(0.3).with_status(is_running(qmp)).build()
    await qmp.execute_command("stop")
    try:
        with pytest.raises(GuestPaused):
            await qga.connect(booted_guest.guest)
    finally:
        await qmp.execute_command("cont")

    patient = QgaProtocolBuilder().with_timeout(PATIENCE_S).build()
    await patient.connect(booted_guest.guest)
    await patient.ping()
    await patient.disconnect()
