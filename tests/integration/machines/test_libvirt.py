"""Through a real libvirt. Its Python library is Debian's, so it is used in processes of its own (libvirt_guest.py)."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from quarterdeck.machines.discovery import libvirt_guests
from quarterdeck.machines.errors import ProtocolUnavailable
from quarterdeck.machines.guest import Guest, LibvirtEndpoint, ProtocolType
from quarterdeck.machines.qmp import QmpProtocolBuilder

GUEST_PROGRAM = Path(__file__).with_name("libvirt_guest.py")


@pytest.fixture
def libvirt_dir(socket_dir: Path) -> Iterator[Path]:
    """Of an embedded libvirt; a guest that its process left behind is ended."""
    yield socket_dir
    for pid_file in socket_dir.glob("run/qemu/vm*.pid"):
        os.kill(int(pid_file.read_text()), signal.SIGKILL)


async def output_of(*argv: str | Path) -> str:
    """Of a Python program. Fails with what it wrote to stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    return output.decode()


@pytest.mark.timeout(300)
async def test_a_guest_of_libvirt_is_found_and_reached_by_every_protocol(
    libvirt_dir: Path, guest_image: Path
) -> None:
    """S2-11, S2-20F, S2-21F, S2-24F"""
    facts = json.loads((await output_of(GUEST_PROGRAM, libvirt_dir, guest_image)).splitlines()[-1])

    through_libvirt = f"qemu:///embed?root={libvirt_dir}#vm1"
    assert facts.pop("version") >= 7
    assert facts == {
        "guests": ["vm1"],
        "endpoints": {
            "qmp": through_libvirt,
            "qga": through_libvirt,
            "spice": f"{libvirt_dir}/spice.sock",
        },
        "channels": {"org.quarterdeck.echo": f"{libvirt_dir}/echo.sock"},
        "status": "running",
        "refused": "CommandNotFound",
        "events": "not_supported",
        "agent": ["from the guest\n", 3],
        "echo": "over the channel",
        "nobody": "connect_failed",
        "afterwards": [],
    }


OTHER_HYPERVISOR = """
import asyncio, sys
sys.path.append("/usr/lib/python3/dist-packages")
from quarterdeck.machines.discovery import libvirt_guests
from quarterdeck.machines.errors import ConnectFailed, ProtocolUnavailable
from quarterdeck.machines.qmp import QmpProtocolBuilder

async def main():
    guests = await libvirt_guests("test:///default")
    assert list(guests) == ["test"], guests
    qmp = QmpProtocolBuilder().build()
    await qmp.connect(guests["test"])
    try:
        await qmp.query_status()
    except ProtocolUnavailable:
        print("no monitor")
    await qmp.disconnect()
    try:
        await libvirt_guests("qemu+unix:///system?socket=/nowhere")
    except ConnectFailed:
        print("no daemon")

asyncio.run(main())
"""


async def test_a_daemon_that_is_not_there_and_a_hypervisor_without_monitors_are_told_apart() -> None:
    """S2-11, S2-25F"""
    assert (await output_of("-c", OTHER_HYPERVISOR)).split("\n") == ["no monitor", "no daemon", ""]


async def test_without_the_library_libvirt_is_unavailable_and_all_else_works() -> None:
    """S2-11, S2-25F"""
    guest = Guest(name="vm1", endpoints={ProtocolType.QMP: LibvirtEndpoint("qemu:///system", "vm1")})

    with pytest.raises(ProtocolUnavailable, match="libvirt-python"):
        await libvirt_guests("qemu:///system")
    with pytest.raises(ProtocolUnavailable, match="libvirt-python"):
        await QmpProtocolBuilder().build().connect(guest)
