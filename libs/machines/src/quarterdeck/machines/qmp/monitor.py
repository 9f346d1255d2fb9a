"""A connection to the monitor of one guest, whoever holds its socket: we (socket_monitor.py) or libvirt."""

from collections.abc import Mapping
from typing import Any
from typing import Protocol as Interface

from quarterdeck.machines.qmp.events import EventStream


class Monitor(Interface):
    """Open from the start; used by QmpProtocol, which bounds the time of every call."""

    @property
    def is_open(self) -> bool:
        """False as soon as the other side is known to be gone."""
        ...

    async def execute(self, command: str, arguments: Mapping[str, Any] | None) -> Any:
        """What QEMU returned. Raises Refused, ConnectionEnded, ProtocolViolation, TimedOut."""
        ...

    def events(self) -> EventStream:
        """From now on. Raises NotSupported."""
        ...

    async def close(self) -> None:
        """Any number of calls; never raises."""
        ...
