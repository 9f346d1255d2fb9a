"""What every way to a guest can do, and how one is made. Implementations: qmp, qga, virtio_serial, spice."""

from typing import Final, Self
from typing import Protocol as Interface

from quarterdeck.machines.guest import Guest, ProtocolType

DEFAULT_TIMEOUT_S: Final = 10.0
"""For one connect or one request, unless a builder says otherwise: the one timeout of all protocols."""


class Protocol(Interface):
    """One connection to one guest. All methods raise MachineError, and nothing else, for what a guest can do.

    Safe for several tasks at once: requests take turns. A task that is cancelled while it waits leaves the connection
    in order: no later caller ever gets its answer.
    """

    async def connect(self, guest: Guest) -> None:
        """Raises ProtocolUnavailable, ConnectFailed, TimedOut. Connected already: begins anew."""
        ...

    async def disconnect(self) -> None:
        """Any number of calls; never raises."""
        ...

    async def send(self, content: bytes) -> None:
        """Raw bytes in the protocol's own form. Raises NotSupported where bytes alone make no sense."""
        ...

    async def receive(self) -> bytes:
        """The next bytes that came unasked. Raises NotSupported where an answer belongs to a request (QMP, QGA)."""
        ...

    async def is_connected(self) -> bool: ...

    def protocol_type(self) -> ProtocolType: ...


class ProtocolBuilder(Interface):
    """Makes protocols of one type, alike. Made without arguments; `with_…` returns a changed copy."""

    def with_timeout(self, timeout_s: float) -> Self: ...

    def build(self) -> Protocol: ...

    def protocol_type(self) -> ProtocolType: ...
