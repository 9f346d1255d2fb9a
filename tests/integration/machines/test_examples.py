"""The examples of libs/machines/README.md and docs/virtio-serial.md, run as they stand there."""

import asyncio
import os
import sys
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from quarterdeck.machines.qmp import QmpProtocolBuilder
from quarterdeck.machines.registry import ProtocolRegistry
from quarterdeck.testing.machines import QemuProcess
from tests.integration.machines.channel_peer import channel_peer
from tests.integration.machines.examples import python_examples, run

ROOT = Path(__file__).parents[3]
README = ROOT / "libs" / "machines" / "README.md"
GUIDE = ROOT / "docs" / "virtio-serial.md"


def example(document: Path, heading: str, number: int = 0) -> str:
    return [found.code for found in python_examples(document) if found.heading == heading][number]


@pytest.fixture
def guest(bare_machine: QemuProcess, host_guest_agent: Path) -> Guest:
    return Guest(
        name="vm1",
        endpoints={
            ProtocolType.QMP: UnixEndpoint(str(bare_machine.qmp_path)),
            ProtocolType.QGA: UnixEndpoint(str(host_guest_agent)),
        },
    )


async def test_a_guest_is_made_by_hand() -> None:
    """S2-26"""
    names: dict[str, Any] = {}
    await run(example(README, "Guests"), names)

    assert set(names["guest"].endpoints) == {ProtocolType.QMP, ProtocolType.QGA}


async def test_guests_are_found_by_their_sockets(
    bare_machine: QemuProcess,
) -> None:
    """S2-20F, S2-26"""
    directory = bare_machine.qmp_path.parent
    code = example(README, "Guests", 1).replace("/run/vms/{guest}/qmp.sock", f"{directory}/{{guest}}.sock")
    assert await run(code, {}) == "qmp qmp\nsecond-qmp qmp\n"


async def test_qmp_as_in_the_readme(guest: Guest) -> None:
    """S2-10, S2-26"""
    version, status = (await run(example(README, "QMP"), {"guest": guest})).splitlines()

    assert version.split(".")[0].isdecimal()
    assert status == "prelaunch"


async def test_events_as_in_the_readme(guest: Guest) -> None:
    """S2-10, S2-26"""
    qmp = QmpProtocolBuilder().build()
    await qmp.connect(guest)
    printed = await run(example(README, "QMP", 1), {"qmp": qmp})
    await qmp.disconnect()

    assert printed == "RESUME {}\n"


async def test_qga_as_in_the_readme(guest: Guest) -> None:
    """S2-15, S2-26"""
    output = await run(example(README, "QGA"), {"guest": guest})

    assert " etc\n" in output
    assert output.endswith("0 Hello\n")


async def test_the_registry_as_in_the_readme(guest: Guest) -> None:
    """S2-3, S2-26"""
    names: dict[str, Any] = {"ProtocolRegistry": ProtocolRegistry}
    await run(example(README, "The registry", 1), names)

    assert await run(example(README, "The registry"), {"guest": guest}) == "True False\n"
    assert names["registry"].create("qmp").protocol_type() is ProtocolType.QMP


@asynccontextmanager
async def port_of_a_guest(socket_dir: Path) -> AsyncIterator[tuple[Path, Guest]]:
    """A device that a program opens as if it were in a guest, and the guest whose channel it is: a terminal."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    loop = asyncio.get_running_loop()

    async def bridge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop.add_reader(ours, lambda: writer.write(os.read(ours, 65_536)))
        try:
            while piece := await reader.read(65_536):
                os.write(ours, piece)
        finally:
            loop.remove_reader(ours)

    try:
        async with channel_peer(socket_dir, bridge) as guest:
            (endpoint,) = guest.channels.values()
            yield Path(os.ttyname(theirs)), Guest(name="vm1", channels={"org.example.clock": endpoint})
    finally:
        os.close(ours)
        os.close(theirs)


async def test_both_programs_of_the_guide_understand_each_other(
    socket_dir: Path,
) -> None:
    """S2-21F, S2-26"""
    async with port_of_a_guest(socket_dir) as (device, guest):
        program = example(GUIDE, "The program in the guest")
        in_guest = await asyncio.create_subprocess_exec(sys.executable, "-c", program, device)
        try:
            printed = await run(example(GUIDE, "The program on the host"), {"guest": guest})
        finally:
            in_guest.kill()
            await in_guest.wait()

    said, now = printed.rsplit(" ", 1)
    assert said == "what time is it?"
    assert float(now) > 1_600_000_000


async def test_ports_are_found_as_in_the_guide(guest: Guest) -> None:
    """S2-21F, S2-26"""
    qmp = QmpProtocolBuilder().build()
    await qmp.connect(guest)
    names: dict[str, Any] = {"qmp": qmp, "guest": guest}
    await run(example(GUIDE, "Find it"), names)
    await qmp.disconnect()

    assert names["guest"] == guest
