"""Bodies of the requests that concern one agent: register it, run something on it and wait."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw

from quarterdeck.api.handlers.requests import Seconds


class RegisterAgent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /api/agents. Agents of ours enrol by themselves, with a join token."""

    agent_id: str
    name: Annotated[str, Meta(max_length=128)] = ""
    """For people; the agent id when empty."""
    dialect: Literal["agent_service", "deepflow", "quicflow"]
    identity: Raw
    """VpsIdentity, IpMacIdentity or ClientIdentity, by `dialect`."""


class VpsIdentity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """agent_service."""

    vps_db_id: int


class IpMacIdentity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """deepflow."""

    ip: str
    mac: str


class ClientIdentity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """quicflow."""

    client_id: str


class RunOnAgent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /api/agents/{agent_id}/run. Exactly one of command and ident."""

    command: str | None = None
    """For the shell."""
    ident: str | None = None
    """A command that the agent knows by name: see GET /api/agents/{agent_id}/commands."""
    params: dict[str, str] | None = None
    """Of `ident`."""
    linux_ns_pid: Annotated[int, Meta(ge=1, le=2**32 - 1)] | None = None
    """Of `ident`: run it in the namespaces of this process."""
    timeout: Seconds | None = None
    """Seconds to wait for the end, 300 at most. The command goes on when they are over."""
