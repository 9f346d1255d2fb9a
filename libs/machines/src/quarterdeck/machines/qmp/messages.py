"""The structures of QMP as this package reads and writes them. Pure.

Source: QEMU, docs/interop/qmp-spec and qapi/*.json.
"""

from collections.abc import Mapping
from typing import Any

import msgspec


class QmpCommand(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request, `{"execute": …}`."""

    execute: str
    arguments: Mapping[str, Any] | None = None
    id: str | None = None


class QmpError(msgspec.Struct, frozen=True, kw_only=True):
    error_class: str = msgspec.field(name="class")
    """Such as `GenericError` or `CommandNotFound`."""
    description: str = msgspec.field(name="desc", default="")


class QmpResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Whatever comes from a monitor: the answer to a request, or an event."""

    ret: Any = msgspec.field(name="return", default=msgspec.UNSET)
    error: QmpError | None = None
    event: str | None = None
    id: str | None = None


class QmpKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key of `send-key`. QEMU's KeyValue, of its two kinds the one with names."""

    key_type: str = msgspec.field(name="type", default="qcode")
    name: str = msgspec.field(name="data")
    """QEMU's name of the key, see keys.py."""


class VersionTriple(msgspec.Struct, frozen=True, kw_only=True):
    major: int
    minor: int
    micro: int


class QmpVersion(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `query-version`."""

    qemu: VersionTriple
    package: str = ""
    """What the distribution calls it, such as `Debian 1:7.2+dfsg-7`."""

    def __str__(self) -> str:
        return f"{self.qemu.major}.{self.qemu.minor}.{self.qemu.micro}"


class QmpStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `query-status`."""

    running: bool
    """Whether the guest's processors run."""
    status: str
    """QEMU's RunState, such as `running`, `paused`, `prelaunch` or `shutdown`."""


class _Timestamp(msgspec.Struct, frozen=True):
    seconds: int
    microseconds: int


class _WireEvent(msgspec.Struct, frozen=True):
    event: str
    timestamp: _Timestamp
    data: Mapping[str, Any] = {}


class QmpEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that QEMU told unasked."""

    event: str
    """Such as `STOP`, `RESUME`, `SHUTDOWN` or `VSERPORT_CHANGE`."""
    members: Mapping[str, Any]
    """The event's own; empty for many."""
    at_s: float
    """The host's clock at QEMU, since 1970."""
    lost: int = 0
    """How many events before this one were dropped, because the reader was slow."""

    @classmethod
    def of_message(cls, message: Mapping[str, object]) -> "QmpEvent":
        """Raises msgspec.ValidationError."""
        wire = msgspec.convert(message, _WireEvent)
        at_s = wire.timestamp.seconds + wire.timestamp.microseconds / 1e6
        return cls(event=wire.event, members=wire.data, at_s=at_s)
