"""The virtio-serial ports of a guest, as QEMU's object model knows them. Asked over the guest's monitor.

Source: QEMU, hw/char/virtio-console.c for the properties, chardev/char-socket.c for the names of files.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from quarterdeck.machines.errors import Refused
from quarterdeck.machines.guest import Endpoint, Guest, ProtocolType, TcpEndpoint, UnixEndpoint

if TYPE_CHECKING:  # a host without guests looks for some all the time, and needs no library for that
    from quarterdeck.machines.qmp import QmpProtocol

AGENT_PORT: Final = "org.qemu.guest_agent.0"
"""The port of the guest's agent, by convention of qemu-ga and libvirt."""

_DEVICES: Final = ("/machine/peripheral", "/machine/peripheral-anon")
"""Devices with an id of the user's, and those without."""
_PORT_TYPE: Final = "child<virtserialport>"

_FREE: Final = "disconnected:"
_UNIX: Final = re.compile(r"(?:disconnected:)?unix:(?P<path>/.*?),server(?:=on)?(?: <-> .*)?")
_TCP: Final = re.compile(
    r"(?:disconnected:)?tcp:(?:\[(?P<host6>[^\]]+)\]|(?P<host>[^:]+)):(?P<port>\d+),server(?:=on)?(?: <-> .*)?"
)


class SerialPort(msgspec.Struct, frozen=True, kw_only=True):
    """One port that a guest sees under `/dev/virtio-ports/`."""

    name: str
    endpoint: Endpoint
    """Where we find the host's end."""
    is_open: bool
    """Somebody in the guest has it open. What is written before that is lost."""
    is_taken: bool
    """Somebody on the host is connected, and whoever comes next has to wait."""


class _Property(msgspec.Struct, frozen=True):
    name: str
    type: str


class _Chardev(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    filename: str
    frontend_open: bool = msgspec.field(name="frontend-open", default=False)


async def serial_ports_of(qmp: "QmpProtocol") -> list[SerialPort]:
    """Ports with a name and with a socket that QEMU listens on, by name. Raises what execute_command raises."""
    chardevs = await qmp.execute_as("query-chardev", None, list[_Chardev])
    by_label = {chardev.label: chardev for chardev in chardevs}
    found = [
        await _port(qmp, f"{parent}/{child.name}", by_label)
        for parent in _DEVICES
        for child in await _children(qmp, parent)
        if child.type == _PORT_TYPE
    ]
    return sorted((port for port in found if port is not None), key=lambda port: port.name)


async def channels_of(qmp: "QmpProtocol") -> Mapping[str, Endpoint]:
    """The ports by name, without the agent's: what `Guest.channels` holds. Raises what execute_command raises."""
    return {port.name: port.endpoint for port in await serial_ports_of(qmp) if port.name != AGENT_PORT}


def with_serial_ports(guest: Guest, ports: list[SerialPort]) -> Guest:
    """The guest with these ports as its channels; where its agent is not known yet, with the agent's port as well."""
    found = {port.name: port.endpoint for port in ports}
    agent = found.pop(AGENT_PORT, None)
    endpoints = dict(guest.endpoints)
    if agent is not None:
        endpoints.setdefault(ProtocolType.QGA, agent)
    return msgspec.structs.replace(guest, endpoints=endpoints, channels={**guest.channels, **found})


def endpoint_of(filename: str) -> Endpoint | None:
    """Of a chardev's `filename`, such as `disconnected:unix:/run/echo.sock,server=on`; None for any other kind."""
    if found := _UNIX.fullmatch(filename):
        return UnixEndpoint(found["path"])
    if found := _TCP.fullmatch(filename):
        return TcpEndpoint(found["host6"] or found["host"], int(found["port"]))
    return None


async def _children(qmp: "QmpProtocol", path: str) -> list[_Property]:
    try:
        return await qmp.execute_as("qom-list", {"path": path}, list[_Property])
    except Refused:
        return []  # a machine without any such device need not have the container


async def _port(qmp: "QmpProtocol", path: str, chardevs: Mapping[str, _Chardev]) -> SerialPort | None:
    try:
        name = await qmp.execute_as("qom-get", {"path": path, "property": "name"}, str)
        label = await qmp.execute_as("qom-get", {"path": path, "property": "chardev"}, str)
    except Refused:
        return None  # unplugged since the list was made
    chardev = chardevs.get(label)
    endpoint = None if chardev is None else endpoint_of(chardev.filename)
    if not name or chardev is None or endpoint is None:
        return None
    return SerialPort(
        name=name,
        endpoint=endpoint,
        is_open=chardev.frontend_open,
        is_taken=not chardev.filename.startswith(_FREE),
    )
