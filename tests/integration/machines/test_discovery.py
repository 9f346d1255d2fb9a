"""The ports of a real QEMU, as its object model knows them. The machine never runs, so no guest opens any."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.machines.discovery import (
    SocketPattern,
    channels_of,
    find_guests,
    serial_ports_of,
    with_serial_ports,
)
from quarterdeck.machines.guest import ProtocolType, TcpEndpoint, UnixEndpoint
from quarterdeck.machines.qmp import QmpProtocol, QmpProtocolBuilder
from quarterdeck.machines.virtio_serial import VirtioSerialProtocolBuilder
from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.machines import QemuProcess


def _options(directory: Path) -> list[str]:
    def port(number: int, name: str, chardev: str, *, identifier: str = "") -> list[str]:
        device = f"virtserialport,chardev=c{number},name={name}{identifier}"
        return ["-chardev", f"{chardev},id=c{number}", "-device", device]

    listening = "server=on,wait=off"
    return [
        *("-machine", "q35", "-accel", "tcg,tb-size=16", "-m", "16", "-S"),
        *("-device", "virtio-serial-pci"),
        *port(1, "org.example.echo", f"socket,path={directory}/echo.sock,{listening}", identifier=",id=echo"),
        *port(2, "org.example.anon", f"socket,path={directory}/anon.sock,{listening}"),
        *port(3, "org.example.tcp", f"socket,host=127.0.0.1,port=0,{listening}", identifier=",id=tcp"),
        *port(4, "org.qemu.guest_agent.0", f"socket,path={directory}/qga.sock,{listening}"),
        *port(5, "org.example.nowhere", "null", identifier=",id=nowhere"),
        *("-device", "virtserialport,id=loose,name=org.example.loose"),
    ]


@pytest.fixture
async def machine(socket_dir: Path) -> AsyncIterator[QemuProcess]:
    """With ports of every kind, in the directory of a guest named vm1."""
    directory = socket_dir / "vm1"
    directory.mkdir()
    async with QemuProcess.running(directory, *_options(directory)) as qemu:
        yield qemu


@pytest.fixture
async def qmp(machine: QemuProcess) -> AsyncIterator[QmpProtocol]:
    protocol = QmpProtocolBuilder().with_timeout(60).build()
    guests = find_guests([SocketPattern.parse(f"qmp={machine.qmp_path.parent.parent}/{{guest}}/qmp.sock")])
    await protocol.connect(guests["vm1"])
    yield protocol
    await protocol.disconnect()


async def test_ports_are_found_with_where_to_connect(machine: QemuProcess, qmp: QmpProtocol) -> None:
    """S2-20F, S2-21F"""
    directory = machine.qmp_path.parent

    ports = {port.name: port for port in await serial_ports_of(qmp)}

    tcp = ports.pop("org.example.tcp").endpoint
    assert isinstance(tcp, TcpEndpoint)
    assert tcp.host == "127.0.0.1"
    assert {name: port.endpoint for name, port in ports.items()} == {
        "org.example.anon": UnixEndpoint(f"{directory}/anon.sock"),
        "org.example.echo": UnixEndpoint(f"{directory}/echo.sock"),
        "org.qemu.guest_agent.0": UnixEndpoint(f"{directory}/qga.sock"),
    }
    assert not any(port.is_open or port.is_taken for port in ports.values())


async def test_the_agents_port_is_no_channel_but_an_endpoint(qmp: QmpProtocol) -> None:
    """S2-21F"""
    assert set(await channels_of(qmp)) == {"org.example.anon", "org.example.echo", "org.example.tcp"}

    assert qmp.guest is not None
    guest = with_serial_ports(qmp.guest, await serial_ports_of(qmp))

    assert set(guest.endpoints) == {ProtocolType.QMP, ProtocolType.QGA}
    assert set(guest.channels) == set(await channels_of(qmp))


async def test_a_port_that_somebody_has_is_told(qmp: QmpProtocol) -> None:
    """S2-21F"""
    assert qmp.guest is not None
    channel = VirtioSerialProtocolBuilder().with_channel("org.example.echo").build()

    async def is_taken() -> bool:
        return {port.name: port.is_taken for port in await serial_ports_of(qmp)}["org.example.echo"]

    async def is_free() -> bool:
        return not await is_taken()

    await channel.connect(with_serial_ports(qmp.guest, await serial_ports_of(qmp)))
    await eventually(is_taken)
    await channel.disconnect()
    await eventually(is_free)


async def test_a_port_on_tcp_takes_a_client(qmp: QmpProtocol) -> None:
    """S2-21F"""
    assert qmp.guest is not None
    channel = VirtioSerialProtocolBuilder().with_channel("org.example.tcp").build()

    await channel.connect(with_serial_ports(qmp.guest, await serial_ports_of(qmp)))

    assert await channel.is_connected()
    await channel.disconnect()


async def test_a_port_that_is_unplugged_meanwhile_is_left_out(qmp: QmpProtocol) -> None:
    """S2-21F"""
    await qmp.execute_command("device_del", {"id": "echo"})

    async def names() -> bool:
        return "org.example.echo" not in await channels_of(qmp)

    await eventually(names)


async def test_a_machine_without_devices_has_no_ports(bare_machine: QemuProcess) -> None:
    """S2-21F"""
    protocol = QmpProtocolBuilder().with_timeout(60).build()
    found = find_guests([SocketPattern.parse(f"qmp={bare_machine.qmp_path.parent}/{{guest}}.sock")])
    assert set(found) == {"qmp", "second-qmp"}
    await protocol.connect(found["qmp"])

    assert await serial_ports_of(protocol) == []

    await protocol.disconnect()
