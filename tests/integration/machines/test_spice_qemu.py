"""S2-22F: real QEMU takes our keys, proved by its own trace; a wrong password, a viewer, and QEMU's death."""

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from quarterdeck.embedded.server_errors import ServerStartFailed
from quarterdeck.machines import keys as key_names
from quarterdeck.machines.errors import ConnectFailed, TimedOut, WrongPassword
from quarterdeck.machines.guest import Guest, ProtocolType, TcpEndpoint, UnixEndpoint
from quarterdeck.machines.qmp import QmpProtocolBuilder
from quarterdeck.machines.spice import SpiceProtocol, SpiceProtocolBuilder, messages
from quarterdeck.machines.spice.session import Session
from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.machines import QemuProcess
from tests.integration.machines.examples import python_examples, run

PASSWORD = "épée & sesame"

GUIDE = Path(__file__).parents[3] / "docs" / "spice.md"

SERVER = (
    *("-machine", "none", "-trace", "input_event_key_*"),
    *("-object", f"secret,id=ticket,data={PASSWORD}"),
)

TRACED_KEY = re.compile(r"input_event_key_qcode .*key qcode (\w+), down (\d)")

PORT_TRIES = 5
"""A port that was free a moment ago may be somebody's now, and SPICE cannot be told to take any."""

KEYS_OF_QEMU_7 = sorted(
    name for name in key_names.NAMES - {"lang1", "lang2"} if not re.fullmatch(r"f(1[3-9]|2[0-4])", name)
)
"""Those with a scancode, without those that came with QEMU 8."""

SECOND_NAMES = {"asterisk": "kp_multiply", "sysrq": "print"}
"""QEMU has one key of two names, and traces the other."""

CTRL_ALT_DEL = [
    *(("ctrl", True), ("alt", True), ("delete", True)),
    *(("delete", False), ("alt", False), ("ctrl", False)),
]


def keys_seen(qemu: QemuProcess) -> list[tuple[str, bool]]:
    """What QEMU passed on to the guest so far: QEMU's name of the key, and whether it went down."""
    return [(name, down == "1") for name, down in TRACED_KEY.findall(qemu.log())]


async def has_ended(spice: SpiceProtocol) -> bool:
    return not await spice.is_connected()


@asynccontextmanager
async def unix_server(directory: Path, *options: str) -> AsyncIterator[tuple[QemuProcess, Guest]]:
    path = directory / "spice.sock"
    address = f"unix=on,addr={path},password-secret=ticket"
    async with QemuProcess.running(directory, *SERVER, "-spice", address, *options) as qemu:
        yield qemu, guest_at(UnixEndpoint(str(path)))


@asynccontextmanager
async def tcp_server(directory: Path) -> AsyncIterator[tuple[QemuProcess, Guest]]:
    qemu, port = await _start_on_a_free_port(directory)
    try:
        yield qemu, guest_at(TcpEndpoint("127.0.0.1", port))
    finally:
        await qemu.kill()


async def _start_on_a_free_port(directory: Path) -> tuple[QemuProcess, int]:
    for attempt in range(1, PORT_TRIES + 1):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
        qemu = QemuProcess(directory, *SERVER, "-spice", f"addr=127.0.0.1,port={port},password-secret=ticket")
        try:
            await qemu.start()
        except ServerStartFailed:
            if attempt == PORT_TRIES:
                raise
        else:
            return qemu, port
    raise AssertionError("the last try returns or raises")


def guest_at(endpoint: UnixEndpoint | TcpEndpoint, password: str | None = PASSWORD) -> Guest:
    return Guest(name="vm1", endpoints={ProtocolType.SPICE: endpoint}, spice_password=password)


async def test_chord_arrives_in_order_and_is_released(socket_dir: Path) -> None:
    """S2-22F: with the server on a Unix socket."""
    async with unix_server(socket_dir) as (qemu, guest):
        spice = SpiceProtocolBuilder().build()
        await spice.connect(guest)
        await spice.send_keys(["ctrl", "alt", "del"], hold_ms=1)
        await spice.disconnect()

        await eventually(lambda: keys_seen(qemu) == CTRL_ALT_DEL)


async def test_chord_of_the_guide_arrives(socket_dir: Path) -> None:
    """S2-22F, S2-26"""
    async with unix_server(socket_dir) as (qemu, _):
        code = python_examples(GUIDE)[0].code
        await run(code.replace("/run/vms/vm1", str(socket_dir)).replace("…", PASSWORD), {})

        await eventually(lambda: keys_seen(qemu) == CTRL_ALT_DEL)


async def test_chord_arrives_over_tcp_where_the_server_measures_the_wire(
    socket_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S2-22F: its three pings, one of them of 256,012 bytes, are answered, as its own log says."""
    monkeypatch.setenv("G_MESSAGES_DEBUG", "all")
    async with tcp_server(socket_dir) as (qemu, guest):
        spice = SpiceProtocolBuilder().build()
        await spice.connect(guest)
        await spice.send_keys(["ctrl", "alt", "del"], hold_ms=1)

        await eventually(lambda: keys_seen(qemu) == CTRL_ALT_DEL)
        await eventually(lambda: "net test: " in qemu.log())
        await spice.disconnect()


async def test_every_key_arrives_as_itself(socket_dir: Path) -> None:
    """S2-22F: what keys.py says of scancodes is what QEMU makes of them."""
    async with unix_server(socket_dir) as (qemu, guest):
        spice = SpiceProtocolBuilder().build()
        await spice.connect(guest)
        for name in KEYS_OF_QEMU_7:
            await spice.send_key(name, hold_ms=1)
        await spice.disconnect()

        expected = [
            (SECOND_NAMES.get(name, name), is_down) for name in KEYS_OF_QEMU_7 for is_down in (True, False)
        ]
        await eventually(lambda: len(keys_seen(qemu)) >= len(expected))
        assert keys_seen(qemu) == expected


async def test_all_keys_at_once_are_all_released(socket_dir: Path) -> None:
    """S2-22F: a long chord crosses in one piece."""
    async with unix_server(socket_dir) as (qemu, guest):
        spice = SpiceProtocolBuilder().build()
        await spice.connect(guest)
        await spice.send_keys(KEYS_OF_QEMU_7, hold_ms=1)
        await spice.disconnect()

        await eventually(lambda: len(keys_seen(qemu)) >= 2 * len(KEYS_OF_QEMU_7))
        names = [name for name, _ in keys_seen(qemu)]
        assert names == names[::-1]


async def test_callers_who_leave_at_any_moment_leave_no_key_down(socket_dir: Path) -> None:
    """S2-22F, S2-24F: of 300 callers two thirds lose patience; each chord is whole, and none gets into another."""
    async with unix_server(socket_dir) as (qemu, guest):
        spice = SpiceProtocolBuilder().build()
        await spice.connect(guest)

        async def types(number: int) -> None:
            async with asyncio.timeout(number * 0.002 if number % 3 else None):
                await spice.send_keys(["shift", "a"], hold_ms=5)

        outcomes = await asyncio.gather(*map(types, range(300)), return_exceptions=True)
        await spice.disconnect()

        assert {type(outcome) for outcome in outcomes} == {type(None), TimeoutError}
        await eventually(lambda: len(keys_seen(qemu)) >= 4 * outcomes.count(None))
        seen = keys_seen(qemu)
        assert seen == [("shift", True), ("a", True), ("a", False), ("shift", False)] * (len(seen) // 4)


async def test_wrong_password_is_told_and_the_right_one_then_works(socket_dir: Path) -> None:
    """S2-22F, S2-25F: a wrong one, and none where one is wanted."""
    async with unix_server(socket_dir) as (qemu, guest):
        spice = SpiceProtocolBuilder().build()
        for password in ("wrong", None, ""):
            with pytest.raises(WrongPassword):
                await spice.connect(msgspec.structs.replace(guest, spice_password=password))
        await spice.connect(guest)
        await spice.send_key("a", hold_ms=1)
        await spice.disconnect()

        await eventually(lambda: keys_seen(qemu) == [("a", True), ("a", False)])


async def test_server_without_a_password_takes_any(socket_dir: Path) -> None:
    """S2-22F."""
    path = socket_dir / "spice.sock"
    options = (*SERVER, "-spice", f"unix=on,addr={path},disable-ticketing=on")
    async with QemuProcess.running(socket_dir, *options):
        for password in (None, "any"):
            spice = SpiceProtocolBuilder().build()
            await spice.connect(guest_at(UnixEndpoint(str(path)), password))
            assert await spice.is_connected()
            await spice.disconnect()


async def test_second_client_ends_the_first_whose_next_key_ends_the_second(socket_dir: Path) -> None:
    """S2-22F, S2-25F: a server has one session, and whoever types has it."""
    async with unix_server(socket_dir) as (qemu, guest):
        first, second = SpiceProtocolBuilder().build(), SpiceProtocolBuilder().build()
        await first.connect(guest)
        await second.connect(guest)

        await eventually(lambda: has_ended(first))
        await first.send_key("a", hold_ms=1)
        await eventually(lambda: has_ended(second))
        await eventually(lambda: keys_seen(qemu) == [("a", True), ("a", False)])
        await first.disconnect()
        await second.disconnect()


async def test_paused_guest_gets_no_keys(socket_dir: Path) -> None:
    """S2-22F: QEMU reads them, and drops them; those after the guest goes on arrive."""
    async with unix_server(socket_dir, "-S") as (qemu, guest):
        spice, qmp = SpiceProtocolBuilder().build(), QmpProtocolBuilder().build()
        await qmp.connect(Guest(name="vm1", endpoints={ProtocolType.QMP: UnixEndpoint(str(qemu.qmp_path))}))
        await spice.connect(guest)
        await spice.send_key("a", hold_ms=1)
        await spice.disconnect()
        await qmp.execute_command("cont")
        await spice.connect(guest)
        await spice.send_key("b", hold_ms=1)
        await spice.disconnect()
        await qmp.disconnect()

        await eventually(lambda: keys_seen(qemu) == [("b", True), ("b", False)])


async def test_keys_of_a_client_that_dies_are_released_by_qemu(socket_dir: Path) -> None:
    """S2-22F: no key stays down in a guest because a program of ours crashed."""
    async with unix_server(socket_dir) as (qemu, guest):
        session = await Session.open(guest, PASSWORD)
        session.inputs.write(messages.key_down((0x1D,)))
        await session.inputs.drain()
        await eventually(lambda: keys_seen(qemu) == [("ctrl", True)])
        await session.inputs.close()

        await eventually(lambda: keys_seen(qemu) == [("ctrl", True), ("ctrl", False)])
        await session.close()


async def test_machine_that_is_gone_is_told_in_time(socket_dir: Path) -> None:
    """S2-25F: what was connected is known to have ended, and the next key finds nobody."""
    async with unix_server(socket_dir) as (qemu, guest):
        spice = SpiceProtocolBuilder().build()
        await spice.connect(guest)
        await qemu.kill()

        await eventually(lambda: has_ended(spice))
        with pytest.raises(ConnectFailed):
            await spice.send_key("a", hold_ms=1)
        await spice.disconnect()


async def test_machine_that_stands_still_is_given_up(socket_dir: Path) -> None:
    """S2-25F: QEMU takes the connection and says nothing; and serves the next one once it goes on."""
    async with unix_server(socket_dir) as (qemu, guest):
        qemu.child.send_signal(signal.SIGSTOP)
        with pytest.raises(TimedOut):
            await SpiceProtocolBuilder().with_timeout(0.3).build().connect(guest)
        qemu.child.send_signal(signal.SIGCONT)

        spice = SpiceProtocolBuilder().build()
        await spice.connect(guest)
        await spice.send_key("a", hold_ms=1)
        await spice.disconnect()
        await eventually(lambda: keys_seen(qemu) == [("a", True), ("a", False)])
