"""Links: one live connection of one agent to one gateway, fenced by its epoch."""

from enum import StrEnum
from typing import Self

import msgspec

from quarterdeck.contracts.guests import GuestProtocol, guest_protocol

_NATIVE = "native"


class Carrier(StrEnum):
    QUIC = "quic"
    GRPC = "grpc"


class LinkEnd(StrEnum):
    """Why a gateway ended a link; the reason in Goodbye and in the records."""

    REPLACED = "replaced"
    DRAINING = "draining"
    SILENT = "silent"
    REVOKED = "revoked"
    UNDECODABLE = "undecodable"
    UNAUTHENTICATED = "unauthenticated"
    PROTOCOL = "protocol"
    OVERFLOW = "overflow"
    CLOSED = "closed"


class Epoch(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Orders links in time across gateways. An agent refuses what comes with a lower one than it has seen."""

    incarnation: int
    """Unix seconds at which the link bucket was created: a bucket made anew starts above all old revisions."""
    revision: int
    """The bucket's revision that the link's record was written at."""

    def __str__(self) -> str:
        return f"{self.incarnation}-{self.revision}"


class LinkRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="link/1"):
    """Value in QD_LINKS under `<tenant>.<agent_id>`. Its epoch is (bucket incarnation, revision of this value)."""

    tenant: str
    agent_id: str
    gateway_id: str
    carrier: Carrier
    dialect: str = _NATIVE
    since_ms: int
    ended_at_ms: int | None = None
    """Set when the link ended; the record stays, so that `gone for how long` can be answered."""
    end: LinkEnd | None = None

    @property
    def via(self) -> "Via":
        return Via(str(self.carrier), self.dialect)


class Via(msgspec.Struct, frozen=True):
    """The wire that a command took.

    Recorded as text: `grpc` is the carrier of our own protocol, `grpc/agent_service` that of another's.
    """

    carrier: str
    dialect: str = _NATIVE
    protocol: GuestProtocol | msgspec.UnsetType = msgspec.UNSET
    """How the agent reached its guest. Not recorded: it follows from the command. Absent for an agent's own host."""

    def __str__(self) -> str:
        return self.carrier if self.dialect == _NATIVE else f"{self.carrier}/{self.dialect}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of the recorded text. Any text is one: what is recorded may come from a newer release."""
        carrier, _, dialect = text.partition("/")
        return cls(carrier, dialect or _NATIVE)

    @classmethod
    def of_command(cls, recorded: str | None, guest: str | None, command_type: str) -> Self | None:
        """What a command's view tells. None while it was not sent."""
        if recorded is None:
            return None
        via = cls.parse(recorded)
        return via if guest is None else cls(via.carrier, via.dialect, guest_protocol(command_type))


class GatewayLease(msgspec.Struct, frozen=True, kw_only=True, tag="gateway_lease/1"):
    """Value in QD_GATEWAYS under `<gateway_id>`, renewed every LEASE_RENEW_MS.

    A gateway whose lease was not renewed for LEASE_MS is dead, and its links with it.
    """

    gateway_id: str
    carrier: Carrier
    renewed_at_ms: int
    draining: bool = False


LEASE_RENEW_MS = 2_000
LEASE_MS = 8_000
