"""Which builder makes which protocol. Knows those of ours, and of other distributions, by their entry points.

An entry point in the group `quarterdeck.machines.protocols` names a ProtocolBuilder class; it is imported when a
protocol of its type is first asked for, and not before.
"""

import threading
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Self

from quarterdeck.machines.guest import ProtocolType
from quarterdeck.machines.protocol import Protocol, ProtocolBuilder

ENTRY_POINTS: Final = "quarterdeck.machines.protocols"


class UnknownProtocol(LookupError):
    """Nobody registered a builder for this type."""


class ProtocolRegistry:
    """Safe under threads and tasks."""

    def __init__(self, installed: Iterable[EntryPoint] = ()) -> None:
        """`installed`: builders to be imported on demand; one that is registered goes before an installed one."""
        self._lock = threading.Lock()
        self._builders: dict[str, ProtocolBuilder] = {}
        self._installed = {point.name: point for point in installed}

    @classmethod
    def with_installed(cls) -> Self:
        """Knows what is installed here."""
        return cls(entry_points(group=ENTRY_POINTS))

    def register(self, builder: ProtocolBuilder) -> None:
        """Raises ValueError when the type has a builder already."""
        protocol_type = builder.protocol_type()
        with self._lock:
            if protocol_type in self._builders:
                raise ValueError(f"{protocol_type!r} has a builder already")
            self._builders[protocol_type] = builder

    def lookup(self, protocol_type: ProtocolType | str) -> ProtocolBuilder:
        """Raises UnknownProtocol."""
        with self._lock:
            builder = self._builders.get(protocol_type)
            if builder is None:
                builder = self._builders[protocol_type] = self._load(protocol_type)
            return builder

    def create(self, protocol_type: ProtocolType | str) -> Protocol:
        """A new protocol, not connected. Raises UnknownProtocol."""
        return self.lookup(protocol_type).build()

    def _load(self, protocol_type: str) -> ProtocolBuilder:
        point = self._installed.get(protocol_type)
        if point is None:
            raise UnknownProtocol(f"no builder for {protocol_type!r}")
        builder: ProtocolBuilder = point.load()()
        return builder
