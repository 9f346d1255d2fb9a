"""A guest: one virtual machine of this host, and where each protocol finds it. Made by discovery, or by hand."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class ProtocolType(StrEnum):
    """The ways to a guest."""

    QMP = "qmp"
    QGA = "qga"
    VIRTIO_SERIAL = "virtio_serial"
    SPICE = "spice"


class UnixEndpoint(msgspec.Struct, frozen=True, tag="unix"):
    """A Unix socket that QEMU, or qemu-ga, listens on."""

    path: str

    def __str__(self) -> str:
        return self.path


class TcpEndpoint(msgspec.Struct, frozen=True, tag="tcp"):
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class LibvirtEndpoint(msgspec.Struct, frozen=True, tag="libvirt"):
    """A domain of a libvirt daemon, which keeps the monitor and the agent's channel to itself."""

    uri: str
    domain: str

    def __str__(self) -> str:
        return f"{self.uri}#{self.domain}"


Endpoint = UnixEndpoint | TcpEndpoint | LibvirtEndpoint


class Guest(msgspec.Struct, frozen=True, kw_only=True):
    """One virtual machine. The documents' `Domain`."""

    name: str
    """Unique on its host; contracts.ids.ID_PATTERN where it shall be a target of commands."""
    endpoints: Mapping[ProtocolType, Endpoint] = {}
    """Where each protocol finds it; a protocol that is missing cannot be used with this guest."""
    channels: Mapping[str, Endpoint] = {}
    """virtio-serial ports by their name in the guest, such as `org.example.echo`; the guest agent's own is not here."""
    spice_password: str | None = None
    """None: the server asks for none."""

    def __repr__(self) -> str:
        secret = "" if self.spice_password is None else ", spice_password=…"
        return f"Guest({self.name!r}, endpoints={self.endpoints!r}, channels={self.channels!r}{secret})"
